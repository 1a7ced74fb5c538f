"""Full fine-tuning on one core of a CPU, beside TRL's SFTTrainer."""

from __future__ import annotations

from bench.training import Aims, TrainingRow

ROW = TrainingRow(
    name="full_cpu",
    title="Full fine-tuning on a CPU",
    tuner={"kind": "full"},
    learning_rate=2e-5,
    # forward product, gradient of the input, gradient of the weight, 2 FLOPs each
    flops_per_weight=6,
    loss_tolerance=0.03,
    aims=Aims(speed=3.0, memory=0.5),
)
