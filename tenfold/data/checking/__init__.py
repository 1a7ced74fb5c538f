"""What is wrong with rows before anything is trained on them: what they repeat, give away, break off or damage."""
