"""Which technique for these rows, this model and this budget? Runs side by side, and what may be said of them."""
