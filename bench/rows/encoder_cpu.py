"""Classes by an encoder on one core of a CPU, all weights trained, beside transformers' Trainer."""

from __future__ import annotations

from bench.classifying import ClassifyingRow
from bench.training import ROOT

ROW = ClassifyingRow(
    name="encoder_cpu",
    title="Encoder classification on a CPU",
    model=ROOT / "evidence/data/models/all-minilm-l6-v2",
    batch_size=32,
    max_length=256,
    learning_rate=5e-5,
    loss_tolerance=0.03,
    aim=2.5,
)
