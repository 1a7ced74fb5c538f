"""What holds on this model, these rows and this machine: the invariants of training, checked where they are used."""
