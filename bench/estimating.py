"""How good `tenfold check` is at a run's memory: what it says beside what the run takes, each in a fresh process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from bench import machine
from bench.pairs import run_process, spread
from bench.preparing import model_folder
from bench.samples import sample
from bench.told import line_of_machine, range_of, table
from bench.training import JOBS, Options, environment_of, tenfold_python

UPDATES = 2
"""The second one has the optimizer's state beside it, as all later ones have."""
ASKS = ("estimate", "run")
LETTERS_A_TOKEN = 8
"""More than any tokenizer needs of these texts, so that every row reaches its length."""
LEAST_LABELLED = 10
"""Rows of two classes that five folds can be made of."""
SHORT = 8
"""Tokens that rows are shorter by: an end is added, and words that were cut may come to a token more."""


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
    optim: Mapping[str, object] = field(default_factory=dict)
    """Settings of the recipe's `optim` beside those of every way."""


@dataclass(frozen=True)
class EstimatingRow:
    """Some ways, each at its lengths and with these numbers of rows an update."""

    name: str
    title: str
    ways: Sequence[Way]
    batch_sizes: Sequence[int]
    most_tokens: int
    """Of an update; what has more is cut into micro-batches and takes no more memory."""
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
            if length * batch_size <= self.most_tokens
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
        recipe = recipe_of(way, way.model or options.model, folder / "rows.jsonl", length, batch_size, UPDATES)
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


def recipe_of(way: Way, model: str, rows: Path, length: int, batch_size: int, updates: int) -> dict[str, Any]:
    """Write as many rows of `length` tokens as `updates` of `batch_size` need to `rows`; return a recipe for them."""
    count = max(batch_size * updates, LEAST_LABELLED if way.is_labelled else 0)
    texts = islice(texts_of(length, Path(model_folder(model))), count)
    with rows.open("w", encoding="utf-8") as file:
        for number, text in enumerate(texts):
            file.write(json.dumps({"text": text, **({"label": "ab"[number % 2]} if way.is_labelled else {})}) + "\n")
    return {
        "model": {"name": model},
        "technique": dict(way.technique),
        "tuner": dict(way.tuner),
        "data": {"train": str(rows), "test_share": 0.0, "max_length": length},
        "optim": {"learning_rate": 1e-4, "epochs": 1, "max_updates": updates, "batch_size": batch_size, **way.optim},
        "gate": {"allow": ["overlap", "truncation"]},
        "runtime": {"device": "cpu", "precision": "bf16"},
    }


def texts_of(length: int, model: Path) -> Iterator[str]:
    """Yield texts, no two alike, that the tokenizer in `model` makes `length` tokens of, or up to `SHORT` fewer."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    stream = cycle([row["definition"] for row in sample("diseases")])
    for number, first in enumerate(stream):
        text = f"Case {number}. {first}"
        while len(text) < length * LETTERS_A_TOKEN:
            text += f" {next(stream)}"
        tokens = tokenizer(text[: length * LETTERS_A_TOKEN], add_special_tokens=False)["input_ids"]
        yield tokenizer.decode(tokens[: max(1, length - SHORT)])


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
{result["within"]} of {len(result["cells"])} are. All rows are about as long as the length.

{table(["", "`check`, GB", "the run, GB", "ratio"], rows)}

* {result["updates"]} updates a run, once. {line_of_machine(result)}
"""
