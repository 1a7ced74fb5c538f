"""JSON calls written by a small decoder with LoRA after a minute and a half of one core, beside TRL's SFTTrainer."""

from __future__ import annotations

from typing import Any

from bench.quality import Peer, QualityRow
from bench.samples import side
from tenfold.evaluation.metrics import json_match


def _rows(seed: int) -> dict[str, Any]:
    asked = [row["messages"] for row in side("household", "test")]
    return {
        "train": [{"messages": row["messages"]} for row in side("household", "train")],
        "test": [{"messages": messages[:-1], "reference": messages[-1]["content"]} for messages in asked],
    }


ROW = QualityRow(
    name="quality_generation",
    title="Quality: JSON calls by a decoder",
    told="Commands to a smart home and the JSON call that does it.",
    model="smollm2-135m-instruct",
    rows=_rows,
    recipes={"Tenfold, LoRA": {"technique": {"kind": "parameter_efficient"}, "tuner": "lora"}},
    peers=(
        Peer("TRL", "trl", "trl_quality.py"),
        Peer("TRL at Tenfold's rate", "trl", "trl_quality.py", learning_rate=1e-3),
    ),
    seconds=90.0,
    judge=json_match,
    metric="same JSON",
    max_length=256,
    seeds=(0, 1),
    settings={"max_new_tokens": 64},
)
