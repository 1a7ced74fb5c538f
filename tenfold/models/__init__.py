"""Which model is trained: sources, loading, and how a batch goes through it. The only room that knows transformers."""
