"""The few hot operations: each a plain reference and a fast path, parity-tested."""
