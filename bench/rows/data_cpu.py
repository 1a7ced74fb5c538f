"""Rows from a file to tokens on one core of a CPU, beside TRL's tokenise and pack."""

from __future__ import annotations

from bench.preparing import PreparingRow

ROW = PreparingRow(
    name="data_cpu",
    title="Data preparation",
    rows=100_000,
    grows={"trl": (1_000, 10_000), "tenfold": (1_000, 10_000, 1_000_000)},
    batch_size=8,
    aim=3.0,
)
