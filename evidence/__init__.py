"""Real data and real models for the reference recipes, made out of what package registries ship."""
