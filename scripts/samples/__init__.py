"""One file per sample set: how its rows are cut from a public package."""
