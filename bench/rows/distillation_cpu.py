"""A student of half the blocks on one core of a CPU, beside TRL's GKDTrainer with a live teacher."""

from __future__ import annotations

from bench.distilling import DistillingRow

ROW = DistillingRow(
    name="distillation_cpu",
    title="Distillation on a CPU",
    blocks=15,
    epochs=3,
    learning_rate=5e-5,
    aim=4.0,
    rows_stored=600,
    aim_bytes=120,
)
