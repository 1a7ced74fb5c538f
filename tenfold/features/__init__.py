"""Features of a frozen model, and the scikit-learn estimators that learn from them."""
