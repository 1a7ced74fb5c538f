"""How a stage is trained: the one loop, its optimizer, checkpoints, runtime and log."""
