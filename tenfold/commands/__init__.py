"""The commands, a module for each part of the work: each reads its options, calls the package, and shows."""
