"""Tables made out of the indexes of the Debian archive."""
