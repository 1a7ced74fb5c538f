"""LoRA on one core of a CPU, beside TRL's SFTTrainer as most people run it: fp32 weights, bf16=True, padded rows."""

from __future__ import annotations

from dataclasses import replace

from bench.rows import lora_cpu
from bench.training import TrainingRow

ROW: TrainingRow = replace(
    lora_cpu.ROW,
    name="lora_cpu_usual",
    title="LoRA on a CPU, TRL as usually run",
    peer_settings={"dtype": "float32", "padding_free": False},
)
