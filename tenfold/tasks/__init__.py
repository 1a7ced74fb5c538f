"""What rows are for: each kind of task knows how they become batches, what trains them, how answers are scored."""
