"""What full fine-tuning takes with AdamW's state in 8 bits, and with each parameter moved in the backward pass."""

from __future__ import annotations

from bench.rows import full_cpu
from bench.saving import SavingRow

ROW = SavingRow(
    name="full_memory",
    title="Full fine-tuning on a CPU, saving memory",
    training=full_cpu.ROW,
    ways={
        "Tenfold": {},
        "Tenfold, 8 bits": {"optimizer": "adamw_8bit"},
        "Tenfold, in the backward pass": {"in_backward": True, "max_gradient_norm": None},
        "Tenfold, both": {"optimizer": "adamw_8bit", "in_backward": True, "max_gradient_norm": None},
    },
    aim=0.5,
)
