"""How good `tenfold check` is at a run's memory: what it says beside what the run takes, each in a fresh process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from bench import machine
from bench.pairs import run_process, spread
from bench.samples import sample
from bench.told import line_of_machine, range_of, table
from bench.training import JOBS, Options, environment_of, tenfold_python

UPDATES = 4
ASKS = ("estimate", "run")
LETTERS_A_TOKEN = 8
"""More than any tokenizer needs of these texts, so that every row reaches its length."""


@dataclass(frozen=True)
class Way:
    """A technique with a tuner, on a model."""

    name: str
    technique: Mapping[str, object]
    tuner: Mapping[str, object]
    lengths: Sequence[int]
    model: str = ""
    """A folder, or nothing for the benchmark's own model."""
    is_labelled: bool = False


@dataclass(frozen=True)
class EstimatingRow:
    """Some ways, each at its lengths and with these numbers of rows an update."""

    name: str
    title: str
    ways: Sequence[Way]
    batch_sizes: Sequence[int]
    aim: float
    """How far an estimate may be off, as a share of what was measured."""

    def measure(self, options: Options) -> dict[str, Any]:
        """Return the row's figures, ready for JSON; every cell is measured once.

        Raises:
            RuntimeError: a process failed, with the end of what it printed.
        """
        before = machine.load()
        threads = machine.pin(options.cores)
        cells = [
            self._cell(way, options, length=length, batch_size=batch_size, threads=threads)
            for way in self.ways
            for length in way.lengths
            for batch_size in self.batch_sizes
        ]
        return {
            "kind": "estimating",
            "name": self.name,
            "title": self.title,
            "aim": self.aim,
            **machine.circumstances(before, pinned_to=options.cores, threads=threads),
            "updates": UPDATES,
            "cells": cells,
            "ratio": spread([cell["ratio"] for cell in cells]),
            "within": sum(abs(cell["ratio"] - 1) <= self.aim for cell in cells),
        }

    def _cell(self, way: Way, options: Options, *, length: int, batch_size: int, threads: int) -> dict[str, Any]:
        folder = JOBS / self.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        recipe = _recipe(way, options, folder / "rows.jsonl", length=length, batch_size=batch_size)
        environment = environment_of(threads)
        found = {}
        for asks in ASKS:
            (folder / "job.json").write_text(json.dumps({"recipe": recipe, "asks": asks}))
            command = [tenfold_python(), "-m", "bench.ours.memory", str(folder)]
            measured = run_process(command, result=folder / f"{asks}.json", environment=environment)
            found[asks] = int(measured.facts["peak_bytes"])
        cell = {
            "way": way.name,
            "length": length,
            "batch_size": batch_size,
            **{f"{asks}_gb": round(size / 1e9, 3) for asks, size in found.items()},
            "ratio": round(found["estimate"] / found["run"], 3),
        }
        print(f"  {cell}", flush=True)
        return cell


def _recipe(way: Way, options: Options, rows: Path, *, length: int, batch_size: int) -> dict[str, Any]:
    count = batch_size * UPDATES
    with rows.open("w", encoding="utf-8") as file:
        for number, text in enumerate(islice(_texts(length * LETTERS_A_TOKEN), count)):
            file.write(json.dumps({"text": text, **({"label": "ab"[number % 2]} if way.is_labelled else {})}) + "\n")
    return {
        "model": {"name": way.model or options.model},
        "technique": dict(way.technique),
        "tuner": dict(way.tuner),
        "data": {"train": str(rows), "test_share": 0.0, "max_length": length},
        "optim": {"learning_rate": 1e-4, "epochs": 1, "max_updates": UPDATES, "batch_size": batch_size},
        "gate": {"allow": ["overlap", "truncation"]},
        "runtime": {"device": "cpu", "precision": "bf16"},
    }


def _texts(num_letters: int) -> Iterator[str]:
    """Yield texts of so many letters, no two alike."""
    stream = cycle([row["definition"] for row in sample("diseases")])
    for number, first in enumerate(stream):
        text = f"Case {number}. {first}"
        while len(text) < num_letters:
            text += f" {next(stream)}"
        yield text[:num_letters]


def section(result: dict[str, Any]) -> str:
    """Return the row's part of the page."""
    rows = {
        f"{cell['way']}, {cell['length']:,} tokens, {cell['batch_size']} rows": [
            f"{cell['estimate_gb']:.2f}",
            f"{cell['run_gb']:.2f}",
            f"{cell['ratio']:.2f}" if abs(cell["ratio"] - 1) <= result["aim"] else f"**{cell['ratio']:.2f}**",
        ]
        for cell in result["cells"]
    }
    return f"""## {result["title"]} (`{result["name"]}`)

What `tenfold check` says of a run's peak memory, from a few real updates, beside what the run's first stage took, each
in a fresh process: {range_of(result["ratio"], 2)} of it. The aim is at most {result["aim"]:.0%} off: \
{result["within"]} of {len(result["cells"])} are. All rows are as long as the length.

{table(["", "`check`, GB", "the run, GB", "ratio"], rows)}

* {result["updates"]} updates a run, once. {line_of_machine(result)}
"""
