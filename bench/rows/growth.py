"""How LoRA's time and memory grow with the length of rows, their number, and the model."""

from __future__ import annotations

from bench.growing import GrowingRow

ROW = GrowingRow(
    name="growth",
    title="How cost grows",
    lengths=(128, 512, 2048, 8192),
    rows=(1_000, 10_000, 100_000, 1_000_000),
    shapes=("135M", "360M", "1B"),
    tokens=1024,
)
