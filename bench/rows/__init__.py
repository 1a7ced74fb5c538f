"""The rows of the benchmark: each file says what is measured against whom, and with which settings."""

from __future__ import annotations

from bench.rows import full_cpu, lora_cpu, lora_cpu_usual
from bench.training import TrainingRow

ROWS: dict[str, TrainingRow] = {row.name: row for row in (lora_cpu.ROW, lora_cpu_usual.ROW, full_cpu.ROW)}
