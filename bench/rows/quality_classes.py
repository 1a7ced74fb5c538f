"""Classes by an encoder after a minute of one core, beside transformers' Trainer and scikit-learn on features."""

from __future__ import annotations

from typing import Any

from bench.quality import FEATURES, Peer, QualityRow, same_label
from bench.samples import side
from bench.training import ROOT


def _rows(seed: int) -> dict[str, Any]:
    train, test = side("licences", "train"), side("licences", "test")
    return {
        "train": [{"text": row["text"], "label": row["category"]} for row in train],
        "test": [{"text": row["text"], "label": row["category"], "reference": row["category"]} for row in test],
    }


ROW = QualityRow(
    name="quality_classes",
    title="Quality: classes by an encoder",
    told="Licence notices and their category.",
    model=str(ROOT / "evidence/data/models/all-minilm-l6-v2"),
    rows=_rows,
    recipes={
        "Tenfold, task_specific": {"technique": {"kind": "task_specific"}, "tuner": "full"},
        "Tenfold, feature_based": {"technique": {"kind": "feature_based"}, "tuner": "frozen"},
    },
    peers=(
        Peer("transformers Trainer", "trl", "trainer_quality.py"),
        Peer("transformers Trainer at Tenfold's rate", "trl", "trainer_quality.py", learning_rate=1e-4),
        FEATURES,
    ),
    seconds=60.0,
    judge=same_label,
    metric="accuracy",
    max_length=256,
)
