"""LoRA on one core of a CPU, beside TRL's SFTTrainer."""

from __future__ import annotations

from bench.training import Aims, TrainingRow

ROW = TrainingRow(
    name="lora_cpu",
    title="LoRA on a CPU",
    tuner={"kind": "lora", "rank": 16, "alpha": 32},
    learning_rate=2e-4,
    # a frozen weight needs the forward product and the gradient of its input, 2 FLOPs each
    flops_per_weight=4,
    loss_tolerance=0.03,
    aims=Aims(speed=6.5, memory=0.25, ceiling=0.65),
)
