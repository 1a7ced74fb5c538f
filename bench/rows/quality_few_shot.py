"""Eight rows of each class, and a minute of one core: beside SetFit and scikit-learn on features."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from bench.quality import FEATURES, Peer
from bench.rows import quality_classes

SHOTS = 8


def _rows(seed: int) -> dict[str, Any]:
    """Return other training rows for each seed, and the same test rows."""
    known = quality_classes.ROW.rows(seed)
    shuffled = random.Random(seed).sample(known["train"], len(known["train"]))
    classes = sorted({row["label"] for row in shuffled})
    few = [row for name in classes for row in [each for each in shuffled if each["label"] == name][:SHOTS]]
    return {"train": few, "test": known["test"]}


ROW = replace(
    quality_classes.ROW,
    name="quality_few_shot",
    title="Quality: eight rows of each class",
    told="Licence notices and their category, with eight rows of each to learn from, others for each seed.",
    rows=_rows,
    peers=(Peer("SetFit", "setfit", "setfit_quality.py"), FEATURES),
)
