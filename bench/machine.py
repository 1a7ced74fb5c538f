"""On what machine, and how busy it was: what a figure means nothing without."""

from __future__ import annotations

import os
import platform
import sys
from datetime import date
from pathlib import Path

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
"""Instruction sets that decide how fast matrices are multiplied."""


def describe() -> dict[str, object]:
    """Return processor, its cores and those of `FLAGS` that it has."""
    fields = _cpuinfo()
    present = fields.get("flags", "").split()
    return {
        "processor": fields.get("model name", platform.processor() or platform.machine()),
        "cores": os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in present],
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def gpu() -> str:
    """Return the name of the GPU, or nothing where there is none."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def load() -> list[float]:
    """Return how many processes wanted to run, on average over 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def circumstances(load_before: list[float], **pinned: object) -> dict[str, object]:
    """Return date, machine (with what it was `pinned` to) and load, from before the measurement and now, for JSON."""
    return {
        "date": date.today().isoformat(),
        "machine": describe() | pinned,
        "load_average": {"start": load_before, "end": load()},
    }


def pin(cores: str) -> int:
    """Keep this process and its children on `cores` ("0", "0,1" or "all"); return how many threads that allows.

    Where the system cannot pin (macOS), only the number of threads is kept.
    """
    if cores == "all":
        return os.cpu_count() or 1
    chosen = {int(core) for core in cores.split(",")}
    if sys.platform == "linux":
        os.sched_setaffinity(0, chosen)
    return len(chosen)


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text().split("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first)}
