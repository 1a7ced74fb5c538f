"""How fast this core multiplies matrices of the model's shapes: python -m bench.ours.ceiling JOB_FOLDER RESULT.json.

A product a layer, forward (x Wᵀ) and for the gradient of its input (g W), in bf16, for as many tokens as an update
has. It is the speed that training would reach if it did nothing else.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch

REPEATS = 20


def gflops_per_second(shapes: list[list[int]], num_tokens: int, device: str = "cpu") -> float:
    """Return 1e9 FLOPs a second over one product of each weight shape [outputs, inputs], both ways."""
    flops, seconds = 0.0, 0.0
    for outputs, inputs in shapes:
        x = torch.randn(num_tokens, inputs, device=device).bfloat16()
        gradient = torch.randn(num_tokens, outputs, device=device).bfloat16()
        weight = torch.randn(outputs, inputs, device=device).bfloat16()
        seconds += _fastest(x, weight.T) + _fastest(gradient, weight)
        flops += 2 * 2.0 * num_tokens * outputs * inputs
    return flops / seconds / 1e9


def _fastest(left: torch.Tensor, right: torch.Tensor) -> float:
    times = []
    for _ in range(REPEATS):
        _wait()
        start = time.perf_counter()
        left @ right
        _wait()
        times.append(time.perf_counter() - start)
    return min(times)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    mean_tokens = sum(job["tokens"]) // len(job["tokens"])
    fastest = gflops_per_second(job["block_shapes"], mean_tokens, job.get("device", "cpu"))
    result.write_text(json.dumps({"gflops_per_second": fastest}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
