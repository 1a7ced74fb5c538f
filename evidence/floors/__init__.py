"""What simple means reach on each table: the floor that a fine-tuned model has to clear."""
