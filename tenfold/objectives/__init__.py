"""What loss: each objective returns a sum over exactly the units that it counts."""
