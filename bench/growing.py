"""How time and memory grow with rows' length, with their number and with the model, each cell in a fresh process."""

from __future__ import annotations

import json
import math
import shutil
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine
from bench.estimating import Way, recipe_of
from bench.pairs import run_process
from bench.preparing import model_folder, write_job
from bench.shapes import SHAPES, random_model
from bench.told import line_of_machine, table
from bench.training import JOBS, Options, environment_of, tenfold_python

LORA = Way("lora", {"kind": "parameter_efficient", "compare_full": False}, {"kind": "lora"}, ())
UPDATES = 3
"""Of each cell; the first one is not timed."""
ROWS_AN_UPDATE = 8
"""Of conversations."""
AXES: Mapping[str, str] = {"length": "tokens a row", "rows": "rows", "parameters": "parameters"}


@dataclass(frozen=True)
class GrowingRow:
    """LoRA on one core: at these lengths, with so many rows, on models of these shapes, all else being equal."""

    name: str
    title: str
    lengths: Sequence[int]
    rows: Sequence[int]
    shapes: Sequence[str]
    tokens: int
    """Of an update, but where one row has more."""
    row_length: int = 512
    """Tokens that a conversation has at most."""

    def measure(self, options: Options) -> dict[str, Any]:
        """Return the row's figures, ready for JSON; every cell is measured once.

        Raises:
            RuntimeError: a process failed, with the end of what it printed.
        """
        before = machine.load()
        threads = machine.pin(options.cores)
        cells: dict[str, list[dict[str, Any]]] = {axis: [] for axis in AXES}
        for axis, size, recipe in self._recipes(options, JOBS / self.name):
            (JOBS / self.name / "job.json").write_text(json.dumps({"recipe": recipe}))
            command = [tenfold_python(), "-m", "bench.ours.grow", str(JOBS / self.name)]
            result = JOBS / self.name / "cell.json"
            measured = run_process(command, result=result, environment=environment_of(threads))
            cell = {"size": size or measured.facts["parameters"], **_figures(measured.facts, measured.peak_bytes)}
            print(f"  {axis}: {cell}", flush=True)
            cells[axis].append(cell)
        return {
            "kind": "growing",
            "name": self.name,
            "title": self.title,
            **machine.circumstances(before, pinned_to=options.cores, threads=threads),
            "updates_timed": UPDATES - 1,
            "tokens": self.tokens,
            "cells": cells,
        }

    def _recipes(self, options: Options, folder: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Yield each cell's axis, size (0: the model's parameters) and recipe; its rows are there when it is met."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        texts = folder / "texts.jsonl"
        # by its folder: a built-in name would be converted anew in each cell's cache
        usual = model_folder(options.model)
        for length in self.lengths:
            batch_size = max(1, self.tokens // length)
            yield "length", length, recipe_of(LORA, usual, texts, length, batch_size, UPDATES)
        length = self.lengths[1]
        for count in self.rows:
            write_job(folder / "prepared", count, {})
            recipe = recipe_of(LORA, usual, texts, self.row_length, ROWS_AN_UPDATE, UPDATES)
            recipe["data"]["train"] = str(folder / "prepared/tenfold.jsonl")
            yield "rows", count, recipe
            shutil.rmtree(folder / "prepared")
        for name in self.shapes:
            model = str(random_model(folder / name, SHAPES[name], tokenizer=Path(usual)))
            yield "parameters", 0, recipe_of(LORA, model, texts, length, self.tokens // length, UPDATES)
            shutil.rmtree(folder / name)


def _figures(facts: Mapping[str, Any], peak_bytes: int) -> dict[str, float]:
    ends, tokens = facts["cpu_ends"], facts["tokens"]
    return {
        "tokens_per_cpu_second": round((tokens[-1] - tokens[0]) / (ends[-1] - ends[0]), 1),
        "opened_cpu_seconds": round(facts["opened_cpu_seconds"], 2),
        "own_gb": round(facts["own_bytes"] / 1e9, 3),
        "peak_gb": round(peak_bytes / 1e9, 3),
    }


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Return the power of the size with which the values grow: the slope of a line through their logarithms."""
    slope = statistics.linear_regression([math.log(size) for size in sizes], [math.log(value) for value in values])
    return slope.slope


def section(result: dict[str, Any]) -> str:
    """Return the row's part of the page."""
    told = "\n\n".join(_axis(axis, cells) for axis, cells in result["cells"].items())
    return f"""## {result["title"]} (`{result["name"]}`)

LoRA, {result["tokens"]:,} tokens an update or one row where that has more; rows are counted in conversations, the other
two are texts with loss on every token. Opening is reading, tokenising and checking rows, and loading the model. A
process's own memory leaves out mapped files, which the system drops when it needs the room; the peak counts them too.
The exponent is that of the size with which a figure grows: 1 in proportion, 0 not at all.

{told}

* {result["updates_timed"]} timed updates a cell, each cell once. Models of the last table have random weights.
* {line_of_machine(result)}
"""


def _axis(axis: str, cells: Sequence[Mapping[str, float]]) -> str:
    figures = {
        "tokens a CPU second": ("tokens_per_cpu_second", ",.0f"),
        "CPU seconds to open": ("opened_cpu_seconds", ",.1f"),
        "own memory, GB": ("own_gb", ".2f"),
        "peak, GB": ("peak_gb", ".2f"),
    }
    rows = {f"{cell['size']:,}": [format(cell[key], form) for key, form in figures.values()] for cell in cells}
    sizes = [cell["size"] for cell in cells]
    rows["exponent"] = [f"{exponent(sizes, [cell[key] for cell in cells]):.2f}" for key, _ in figures.values()]
    return table([AXES[axis], *figures], rows)
