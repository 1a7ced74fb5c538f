"""The soak's figures as JSON, written after every round, and as a section of docs/reliability.md."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench.machine import circumstances, load, pin
from bench.told import line_of_machine, table
from reliability.soak.episodes import EPISODES, FAILURES, prepare
from reliability.soak.gauge import BY_RESULT, Gauge
from reliability.soak.judge import MOST_BYTES_A_RUN, MOST_OBJECTS_A_RUN, NAMES, Trend, faults, second_half, trend
from reliability.soak.session import rounds
from tenfold import __version__
from tenfold.engine.store import LIBRARIES, installed_version
from tenfold.paths import cache_at

CORE = "1"


def measured(*, seconds: float, out: Path) -> dict[str, Any]:
    """Return what `seconds` of back-to-back runs came to; `out` is written after every round."""
    pin(CORE)
    torch.set_num_threads(1)
    before, started = load(), time.monotonic()
    found: dict[str, list[float]] = {name: [] for name in (*NAMES, "seconds")}
    here = Path.cwd()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="tenfold-soak-", ignore_cleanup_errors=True) as folder:
        root = Path(folder).resolve()
        gauge = Gauge(temporary=root / "temporary", cache=root / "cache")
        gauge.temporary.mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(gauge.temporary)
        try:
            with cache_at(gauge.cache):
                prepare(root)
                for one in rounds(root, gauge, seconds=seconds):
                    for name, value in {**one.told(), "seconds": round(one.seconds, 1)}.items():
                        found[name].append(value)
                    minutes = (time.monotonic() - started) / 60
                    figures = _figures(found, minutes) | circumstances(before, pinned_to=CORE, threads=1)
                    _write(out, figures)
                    print(_line(found), flush=True)
        finally:
            os.chdir(here)
            tempfile.tempdir = None
            del os.environ["TMPDIR"]
    return figures


def _figures(found: Mapping[str, list[float]], minutes: float) -> dict[str, Any]:
    number = len(found["seconds"])
    return {
        "kind": "soak",
        "tenfold": __version__,
        "versions": {name: installed_version(name) for name in LIBRARIES},
        "minutes": round(minutes, 1),
        "rounds": number,
        "runs": number * len(EPISODES),
        "episodes": list(EPISODES),
        "failures": list(FAILURES),
        "each_round": dict(found),
    }


def _write(out: Path, figures: Mapping[str, Any]) -> None:
    """Write `figures` with a line for each name, whole at any moment."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in figures.items())
    partial = out.with_suffix(".partial")
    partial.write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    partial.replace(out)


def _line(found: Mapping[str, list[float]]) -> str:
    last = {name: values[-1] for name, values in found.items()}
    told = ", ".join(f"{last[name]:,.0f} {name}" for name in NAMES[1:])
    return f"round {len(found['seconds'])}: {last['resident_bytes'] / 2**20:,.1f} MiB, {told}, {last['seconds']} s"


def section(result: Mapping[str, Any]) -> str:
    """Return the section that tells what a session came to."""
    each, runs_a_round = result["each_round"], len(result["episodes"])
    growth = {name: trend(second_half(each[name])) for name in ("resident_bytes", "objects")}
    kept, cells = "; ".join(faults(each, runs_a_round=runs_a_round)), {}
    for name, (told, unit) in TOLD.items():
        values = [value / unit for value in each[name]]
        digits = 1 if unit > 1 else 0
        cells[told] = [
            f"{value:,.{digits}f}" for value in (values[0], values[len(values) // 2], values[-1], max(values))
        ]
    memory, objects = growth["resident_bytes"], growth["objects"]
    failures = "; ".join(result["failures"])
    return f"""## Run after run in one process

**{result["runs"]:,} runs in {result["minutes"]:.0f} minutes: {kept or "nothing grew beyond the bounds below"}.** One \
Python process carries out recipes through `tenfold.run`, as a notebook or a service does: {result["rounds"]} rounds \
of {runs_a_round} on tiny models, every technique among them, one artifact that answers and is scored, and what goes \
wrong in a long session ({failures}). After each run its output is removed and the process is read; garbage is \
collected once a round.

{table(["held at the end of a round", "first", "middle", "last", "most"], cells)}

The bounds are, over the second half of the rounds, with the upper end of a 95 % interval: less than \
{MOST_BYTES_A_RUN / 1000:.0f} kB of resident memory a run (measured: {_interval(memory, runs_a_round, 1000)} kB) and \
less than {MOST_OBJECTS_A_RUN:.0f} Python objects (measured: {_interval(objects, runs_a_round, 1)}); and of all else \
no more in the second half than at most in the first.

A known part of what is left is not Tenfold's: safetensors (measured from 0.5.3 to 0.8.0) keeps two integers, 64 \
bytes, of every tensor that is read from a file; that is some 5 kB a run here, and 17 kB each time a model of 272 \
tensors is opened.

Not covered: models of real size, GPUs, several processes, sessions longer than this one. The cache's rooms for \
results ({", ".join(BY_RESULT)}) grow with every new recipe by design, and are emptied here after each run, so that \
it is carried out again.

`make soak` does it again for two hours, `python -m reliability soak --minutes 20` is a short form. \
{line_of_machine(result)}
"""


TOLD: Mapping[str, tuple[str, int]] = {
    "resident_bytes": ("resident memory, MiB (the round's median)", 2**20),
    "objects": ("Python objects, after a collection", 1),
    "descriptors": ("open file descriptors", 1),
    "threads": ("threads", 1),
    "children": ("child processes", 1),
    "temporary_files": ("temporary files", 1),
    "cache_files": ("files in the cache", 1),
}
"""What is read, in words, and the unit it is told in."""


def _interval(growth: Trend, runs_a_round: int, unit: int) -> str:
    low, high = (growth.slope - growth.half_width, growth.most)
    return f"{low / runs_a_round / unit:+.2f} to {high / runs_a_round / unit:+.2f}"
