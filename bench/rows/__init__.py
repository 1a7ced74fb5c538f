"""The rows of the benchmark: each file says what is measured against whom, and with which settings."""

from __future__ import annotations

from typing import Any, Protocol

from bench.rows import (
    compare_cost,
    data_cpu,
    distillation_cpu,
    encoder_cpu,
    features_cpu,
    full_cpu,
    full_memory,
    gpu,
    growth,
    lora_cpu,
    lora_cpu_others,
    lora_cpu_usual,
    memory_estimate,
    quality_classes,
    quality_few_shot,
    quality_generation,
    ranks_memory,
    startup,
)
from bench.training import Options


class Row(Protocol):
    """One line of the benchmark."""

    @property
    def name(self) -> str:
        """What `--only` calls it, and its file of figures."""
        ...

    def measure(self, options: Options) -> dict[str, Any]:
        """Return the row's figures, ready for JSON."""
        ...


ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        lora_cpu.ROW,
        lora_cpu_usual.ROW,
        lora_cpu_others.ROW,
        full_cpu.ROW,
        full_memory.ROW,
        encoder_cpu.ROW,
        features_cpu.ROW,
        data_cpu.ROW,
        distillation_cpu.ROW,
        memory_estimate.ROW,
        growth.ROW,
        ranks_memory.ROW,
        startup.ROW,
        compare_cost.ROW,
        quality_classes.ROW,
        quality_few_shot.ROW,
        quality_generation.ROW,
    )
}
"""What `python -m bench` measures, on a CPU."""

GPU_ROWS: dict[str, Row] = {row.name: row for row in gpu.ROWS}
"""What it measures with `--device cuda`."""
