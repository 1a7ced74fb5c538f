"""The other programs, each a script that its own environment's interpreter runs (see peers.sh)."""
