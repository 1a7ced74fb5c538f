"""Tables of sentences that people say to a smart home."""
