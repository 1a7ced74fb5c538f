"""One file per model: how its weight file becomes a Hugging Face folder."""
