"""Recorded prompts of a telephone exchange, with what is said in them."""
