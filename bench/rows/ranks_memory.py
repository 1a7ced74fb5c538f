"""Memory of each process where full tuning is shared out over one, two and four."""

from __future__ import annotations

from bench.ranks import RanksRow

ROW = RanksRow(
    name="ranks_memory",
    title="Memory of each of several processes",
    tuner={"kind": "full"},
    counts=(1, 2, 4),
    precision="fp32",
    aim=0.6,
)
