"""How soon the command line answers: its help, and what is wrong with a recipe, before anything heavy is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from bench import machine
from bench.pairs import spread
from bench.told import line_of_machine, range_of, table
from bench.training import JOBS, ROOT, Options, tenfold_python

TIMES = 11
"""The first of them is not counted: it reads files that the others find in memory."""
HEAVY = ("torch", "transformers", "datasets", "sklearn")
AIM_SECONDS = 0.3


@dataclass(frozen=True)
class StartingRow:
    """What is asked of the command line, by what a reader calls it."""

    name: str
    title: str

    def measure(self, options: Options) -> dict[str, Any]:
        """Return the row's figures, ready for JSON.

        Raises:
            RuntimeError: an answer is not the one that was to come.
        """
        before = machine.load()
        threads = machine.pin(options.cores)
        folder = JOBS / self.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "misspelt.yaml").write_text("model: smollm2-135m-instruct\ntechnqiue: instruction\n")
        asked = {
            "`tenfold --help`": (["--help"], "Usage"),
            "`tenfold check`, of a recipe with a misspelt key": (["check", str(folder / "misspelt.yaml")], "technqiue"),
        }
        return {
            "kind": "starting",
            "name": self.name,
            "title": self.title,
            **machine.circumstances(before, pinned_to=options.cores, threads=threads),
            "seconds": {name: _seconds(arguments, answer) for name, (arguments, answer) in asked.items()},
            "heavy": {name: _heavy(arguments) for name, (arguments, _) in asked.items()},
        }


def _seconds(arguments: list[str], answer: str) -> dict[str, float]:
    command = [tenfold_python(), "-m", "tenfold", *arguments]
    times = []
    for _ in range(TIMES):
        started = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        times.append(time.perf_counter() - started)
        if answer not in done.stdout + done.stderr:
            raise RuntimeError(f"{' '.join(command)} said:\n{done.stdout}{done.stderr}")
    print(f"  {' '.join(arguments)[:40]}: {min(times[1:]):.2f} s", flush=True)
    return spread(times[1:], digits=3)


def _heavy(arguments: list[str]) -> list[str]:
    """Return which of the heavy libraries are loaded before the answer."""
    command = [sys.executable, "-X", "importtime", "-m", "tenfold", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    return sorted(loaded & set(HEAVY))


def section(result: dict[str, Any]) -> str:
    """Return the row's part of the page."""
    rows = {
        name: [range_of(seconds, 2), ", ".join(result["heavy"][name]) or "–"]
        for name, seconds in result["seconds"].items()
    }
    return f"""## {result["title"]} (`{result["name"]}`)

The aim is {AIM_SECONDS} s, and no heavy library ({", ".join(HEAVY)}) before it is needed.

{table(["", "seconds to the answer", "heavy libraries loaded"], rows)}

* {TIMES - 1} times each, after one that does not count. {line_of_machine(result)}
"""
