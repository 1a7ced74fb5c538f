"""The techniques: one file and one generator each."""
