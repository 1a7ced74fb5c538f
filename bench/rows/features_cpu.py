"""Features of an encoder on one core of a CPU, beside sentence-transformers' `encode`."""

from __future__ import annotations

from bench.encoding import EncodingRow
from bench.training import ROOT

ROW = EncodingRow(
    name="features_cpu",
    title="Feature extraction on a CPU",
    model=ROOT / "evidence/data/models/all-minilm-l6-v2",
    dtype="bfloat16",
    precision="bf16",
    batch_size=32,
)
