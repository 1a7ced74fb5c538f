"""What `tenfold check` says of memory, beside what runs take: seven ways, short rows to long."""

from __future__ import annotations

from bench.estimating import EstimatingRow, Way
from bench.training import ROOT
from tenfold.data.windows import MICRO_BATCH_TOKENS

_ENCODER = str(ROOT / "evidence/data/models/all-minilm-l6-v2")
_LENGTHS = (128, 512, 2048)
_ENCODER_LENGTHS = (128, 512)

ROW = EstimatingRow(
    name="memory_estimate",
    title="Memory as `tenfold check` foretells it",
    ways=(
        Way("full", {"kind": "instruction"}, {"kind": "full"}, _LENGTHS),
        Way(
            "full, 8 bits in the backward pass",
            {"kind": "instruction"},
            {"kind": "full"},
            _LENGTHS[:2],
            optim={"optimizer": "adamw_8bit", "in_backward": True, "max_gradient_norm": None},
        ),
        Way("lora", {"kind": "parameter_efficient", "compare_full": False}, {"kind": "lora"}, _LENGTHS),
        Way("adapters", {"kind": "adapters"}, {"kind": "bottleneck"}, _LENGTHS),
        Way(
            "distillation",
            {"kind": "distillation", "student": {"layers": 15}, "alpha": 1.0},
            {"kind": "full"},
            _LENGTHS,
        ),
        Way(
            "distillation, hidden states too",
            {"kind": "distillation", "student": {"layers": 15}, "alpha": 1.0, "hidden": {}},
            {"kind": "full"},
            _LENGTHS[:2],
        ),
        Way("task_specific", {"kind": "task_specific"}, {"kind": "full"}, _ENCODER_LENGTHS, _ENCODER, is_labelled=True),
        Way(
            "feature_based", {"kind": "feature_based"}, {"kind": "frozen"}, _ENCODER_LENGTHS, _ENCODER, is_labelled=True
        ),
    ),
    batch_sizes=(2, 8),
    most_tokens=MICRO_BATCH_TOKENS,
    aim=0.15,
)
