"""Eight rows of each class, and a minute of one core: beside SetFit and scikit-learn on features."""

from __future__ import annotations

import random
from typing import Any

from bench.quality import FEATURES, Peer, QualityRow, same_label
from bench.rows import quality_classes
from bench.training import ROOT

SHOTS = 8


def _rows(seed: int) -> dict[str, Any]:
    """Return other training rows for each seed, and the same test rows."""
    known = quality_classes.ROW.rows(seed)
    shuffled = random.Random(seed).sample(known["train"], len(known["train"]))
    classes = sorted({row["label"] for row in shuffled})
    few = [row for name in classes for row in [each for each in shuffled if each["label"] == name][:SHOTS]]
    return {"train": few, "test": known["test"]}


ROW = QualityRow(
    name="quality_few_shot",
    title="Quality: eight rows of each class",
    told="Licence notices and their category, with eight rows of each to learn from, others for each seed.",
    model=str(ROOT / "evidence/data/models/all-minilm-l6-v2"),
    rows=_rows,
    recipes={
        "Tenfold, feature_based": {"technique": {"kind": "feature_based"}, "tuner": "frozen"},
        "Tenfold, task_specific": {"technique": {"kind": "task_specific"}, "tuner": "full"},
    },
    peers=(Peer("SetFit", "setfit", "setfit_quality.py"), FEATURES),
    seconds=60.0,
    judge=same_label,
    metric="accuracy",
    max_length=256,
)
