"""How two programs are compared: in turn, each time in a fresh process, as the ratio within each pair.

A shared machine's speed drifts by tens of percent within minutes; two runs next to each other see nearly the same
machine, so the median of the pairs' ratios holds still where absolute speeds do not.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Measured:
    """What one process said in its result file, and the most memory it ever held."""

    facts: dict[str, Any]
    peak_bytes: int


@dataclass(frozen=True)
class Pair:
    """Both programs, one right after the other."""

    peer: Measured
    ours: Measured


def run_process(command: Sequence[str], *, result: Path, environment: dict[str, str]) -> Measured:
    """Run `command` with `result` as its last argument and return what it wrote there.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    log = result.with_suffix(".log")
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, str(result)], stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environment}
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} failed:\n{log.read_text()[-3000:]}")
    return Measured(json.loads(result.read_text()), peak_bytes_of(usage))


def peak_bytes_of(usage: resource.struct_rusage) -> int:
    """Return the most memory that a process held."""
    return usage.ru_maxrss if sys.platform == "darwin" else usage.ru_maxrss * 1024  # Linux counts in KiB


def interleaved(num_pairs: int, peer: Callable[[], Measured], ours: Callable[[], Measured]) -> list[Pair]:
    """Return peer, ours, peer, ours …, `num_pairs` times."""
    return [Pair(peer(), ours()) for _ in range(num_pairs)]


def spread(values: Sequence[float], *, digits: int = 4) -> dict[str, float]:
    """Return median, smallest and largest, rounded to `digits` significant digits."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return {"median": _rounded(middle, digits), "min": _rounded(low, digits), "max": _rounded(high, digits)}


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
