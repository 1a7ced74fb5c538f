"""How a row of feature extraction is measured: the same texts through the same encoder, by us and by a peer, in turn.

Both are timed from text to numbers: tokenising, the encoder, the mean over tokens; ours also writes them to disk. The
texts are of mixed lengths: strings of a user interface and definitions of diseases, from the shipped samples.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench import machine
from bench.pairs import Measured, Pair, interleaved, run_process, spread
from bench.samples import sample
from bench.told import line_of_machine, range_of, settings_of, table, versions_of
from bench.training import JOBS, ROOT, Options, environment_of, tenfold_python

WARM_UP = 64
"""Rows that are read first and not timed."""
MAX_LENGTH = 256


@dataclass(frozen=True)
class EncodingRow:
    """One encoder, one precision."""

    name: str
    title: str
    model: Path
    dtype: str
    precision: str
    batch_size: int
    """The peer's; ours goes by tokens."""

    def measure(self, options: Options) -> dict[str, Any]:
        """Return the row's figures, ready for JSON.

        Raises:
            RuntimeError: a side failed; with the end of what it printed.
        """
        before = machine.load()
        threads = machine.pin(options.cores)
        folder = JOBS / self.name
        folder.mkdir(parents=True, exist_ok=True)
        num_rows = self._write_job(folder)
        pairs = interleaved(options.pairs, _side(folder, "peer", threads), _side(folder, "tenfold", threads))
        sides = {"peer": [pair.peer for pair in pairs], "tenfold": [pair.ours for pair in pairs]}
        return {
            "kind": "encoding",
            "name": self.name,
            "title": self.title,
            **machine.circumstances(before, pinned_to=options.cores, threads=threads),
            "model": self.model.name,
            "rows": num_rows,
            "pairs": len(pairs),
            "rows_per_second": {name: spread([num_rows / _of(each) for each in side]) for name, side in sides.items()},
            "rows_per_second_ratio": _ratio(pairs, lambda each: 1 / _of(each)),
            "rows_per_cpu_second_ratio": _ratio(pairs, lambda each: 1 / float(each.facts["cpu_seconds"])),
            "peak_memory_gb": {name: spread([each.peak_bytes / 1e9 for each in side]) for name, side in sides.items()},
            "peak_memory_ratio": _ratio(pairs, lambda each: each.peak_bytes),
            "least_cosine": _least_cosine(np.load(folder / "peer.npy"), np.load(folder / "tenfold.npy")),
            "settings": {name: side[0].facts["settings"] for name, side in sides.items()},
            "versions": {name: side[0].facts["versions"] for name, side in sides.items()},
        }

    def _write_job(self, folder: Path) -> int:
        rows = [{"text": text, "label": "ab"[number % 2]} for number, text in enumerate(_texts())]
        lines = [json.dumps(row) + "\n" for row in rows]
        (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
        (folder / "warm_up.jsonl").write_text("".join(lines[:WARM_UP]), encoding="utf-8")
        recipe = {
            "model": {"name": str(self.model)},
            "technique": {"kind": "feature_based"},
            "tuner": {"kind": "frozen"},
            "data": {"train": str(folder / "rows.jsonl"), "test_share": 0.0, "max_length": MAX_LENGTH},
            "gate": {"allow": ["overlap", "truncation"]},
            "runtime": {"device": "cpu", "precision": self.precision},
        }
        job = {
            "recipe": recipe,
            "model": str(self.model),
            "dtype": self.dtype,
            "batch_size": self.batch_size,
            "max_length": MAX_LENGTH,
            "warm_up": WARM_UP,
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        return len(rows)


def _side(folder: Path, name: str, threads: int) -> Callable[[], Measured]:
    own = [tenfold_python(), "-m", "bench.ours.encode"]
    peer = [peer_python(), str(ROOT / "bench/peers/sentence_transformers_encode.py")]
    command = [*(own if name == "tenfold" else peer), str(folder)]
    environment = environment_of(threads)

    def run() -> Measured:
        measured = run_process(command, result=folder / f"{name}.json", environment=environment)
        print(f"  {name}: {_of(measured):.1f} s, {measured.peak_bytes / 1e9:.2f} GB", flush=True)
        return measured

    return run


def peer_python() -> str:
    """Return the interpreter of sentence-transformers' environment, which `bench/peers.sh` makes."""
    named = os.environ.get("TENFOLD_BENCH_SENTENCE_TRANSFORMERS_PYTHON")
    return named or str(ROOT / ".venv-peers/sentence-transformers/bin/python")


def _texts() -> list[str]:
    """Return the texts, the shipped samples' in an order that mixes short and long."""
    found: list[list[str]] = []
    for name, column in (("diseases", "definition"), ("ui_strings", "source")):
        found.append(list(dict.fromkeys(row[column] for row in sample(name))))
    return [text for pair in zip(*found, strict=False) for text in pair]


def _of(side: Measured) -> float:
    return float(side.facts["seconds"])


def _ratio(pairs: list[Pair], value: Callable[[Measured], float]) -> dict[str, float]:
    return spread([value(pair.ours) / value(pair.peer) for pair in pairs])


def _least_cosine(first: np.ndarray, second: np.ndarray) -> float:
    """Return the cosine of the two rows of numbers, [N, D] each, that agree least."""
    products = (first * second).sum(axis=1)
    return round(float((products / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)).min()), 5)


def section(result: dict[str, Any]) -> str:
    """Return the row's part of the page."""
    both = ("peer", "tenfold")
    rows = {
        "rows/s": [range_of(result["rows_per_second"][side], 1) for side in both],
        "peak memory, GB": [range_of(result["peak_memory_gb"][side], 2) for side in both],
        "settings": [settings_of(result["settings"][side]) for side in both],
        "versions": [versions_of(result["versions"][side]) for side in both],
    }
    return f"""## {result["title"]} (`{result["name"]}`)

The features of {result["rows"]:,} texts of mixed lengths by `{result["model"]}`, from text to numbers: Tenfold reads
**{range_of(result["rows_per_second_ratio"], 2)}** × as many rows a second as sentence-transformers' `encode`
({range_of(result["rows_per_cpu_second_ratio"], 2)} × a CPU second), in
{range_of(result["peak_memory_ratio"], 2)} × its memory. The aim is 1.5 ×. Tenfold also writes the features to disk.

{table(["", "sentence-transformers", "Tenfold"], rows)}

* The least cosine of a row's two vectors is {result["least_cosine"]}.
* {result["pairs"]} pairs. {line_of_machine(result)}
"""
