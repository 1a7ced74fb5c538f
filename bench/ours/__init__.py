"""Tenfold's side: each script runs in a fresh process, like the other programs."""
