"""How encoder classification is measured: the same rows, order and first weights, by us and by transformers' Trainer.

The rows are licence notices and their category, from the shipped sample. Dropout is off on both sides, so the losses
must agree, and a faster wrong answer would show.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine
from bench.pairs import Measured, Pair, interleaved, run_process, spread
from bench.told import line_of_machine, losses, range_of, settings_of, table, versions_of
from bench.training import JOBS, ROOT, WARM_UP, Options, environment_of, mean_loss, seconds_of, speeds, tenfold_python


@dataclass(frozen=True)
class ClassifyingRow:
    """One encoder, trained by both on the same job."""

    name: str
    title: str
    model: Path
    batch_size: int
    max_length: int
    learning_rate: float
    loss_tolerance: float
    aim: float

    def measure(self, options: Options) -> dict[str, Any]:
        """Return the row's figures, ready for JSON.

        Raises:
            RuntimeError: a side failed or saw other rows; with the end of what it printed.
        """
        before = machine.load()
        threads = machine.pin(options.cores)
        folder = prepare(self, options)
        job = json.loads((folder / "job.json").read_text())
        environment = environment_of(threads)

        def run(name: str, *command: str) -> Measured:
            result = folder / f"{name}.json"
            measured = run_process([*command, str(folder)], result=result, environment=environment)
            print(f"  {name}: {seconds_of(measured):.1f} s, {measured.peak_bytes / 1e9:.2f} GB", flush=True)
            return measured

        pairs = interleaved(
            options.pairs,
            lambda: run("trainer", peer_python(), str(ROOT / "bench/peers/transformers_classify.py")),
            lambda: run("tenfold", tenfold_python(), "-m", "bench.ours.train"),
        )
        return {
            "kind": "classifying",
            "name": self.name,
            "title": self.title,
            "aim": self.aim,
            **machine.circumstances(before, pinned_to=options.cores, threads=threads),
            "model": self.model.name,
            **figures(self, job, pairs),
        }


def peer_python() -> str:
    """Return an interpreter that has transformers and accelerate: TRL's environment has both."""
    return os.environ.get("TENFOLD_BENCH_TRL_PYTHON") or str(ROOT / ".venv-peers/trl/bin/python")


def prepare(row: ClassifyingRow, options: Options) -> Path:
    """Write the job that both sides read, and return its folder: rows of every update, model, first head."""
    from safetensors.torch import save_file

    from bench.ours.train import Watch, open_run
    from tenfold.recipe import Recipe

    folder = JOBS / row.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    recipe = _recipe(row, options, model=_without_dropout(row.model, folder / "model"))
    run = open_run(Recipe(**recipe), folder / "prepared", Watch())
    stage = run.stage("bench")
    stage = run.attach(stage)
    head = {name.rpartition(".")[2]: each.detach().contiguous() for name, each in run.model.head_parameters().items()}
    save_file(head, folder / "head.safetensors")
    windows = [stage.windows.window(update) for update in range(stage.total_updates)]
    entries = [stage.windows.prepared.entries(window.rows) for window in windows]  # type: ignore[attr-defined]
    job = {
        "recipe": recipe,
        "model": str(folder / "model"),
        "learning_rate": row.learning_rate,
        "batch_size": row.batch_size,
        "windows": [
            [{"input_ids": entry.input_ids, "label": int(entry.labels[0])} for entry in update] for update in entries
        ],
        "tokens": [window.num_tokens for window in windows],
    }
    (folder / "job.json").write_text(json.dumps(job))
    return folder


def _without_dropout(model: Path, folder: Path) -> Path:
    """Make a copy of the model, which shares its weights, in which nothing is dropped."""
    folder.mkdir()
    for path in model.iterdir():
        (folder / path.name).symlink_to(path)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").unlink()
    dropped = {name: 0.0 for name in config if name.endswith("dropout_prob")}
    (folder / "config.json").write_text(json.dumps({**config, **dropped}), encoding="utf-8")
    return folder


def _recipe(row: ClassifyingRow, options: Options, *, model: Path) -> dict[str, Any]:
    return {
        "model": {"name": str(model)},
        "technique": {"kind": "task_specific"},
        "tuner": {"kind": "full"},
        "data": {
            "train": "sample:licences",
            "columns": {"label": "category"},
            "max_length": row.max_length,
        },
        "optim": {
            "learning_rate": row.learning_rate,
            "head_learning_rate": row.learning_rate,
            "epochs": 1000,
            "max_updates": WARM_UP + options.updates,
            "batch_size": row.batch_size,
            "schedule": "constant",
            "warmup_share": 0.0,
        },
        "gate": {"allow": ["overlap", "truncation"]},
        "runtime": {"device": "cpu", "precision": "bf16"},
    }


def figures(row: ClassifyingRow, job: dict[str, Any], pairs: list[Pair]) -> dict[str, Any]:
    """Return what the pairs came to.

    Raises:
        RuntimeError: a side did not see exactly the job's tokens.
    """
    sides = {"trainer": [pair.peer for pair in pairs], "tenfold": [pair.ours for pair in pairs]}
    losses = {name: mean_loss(side[0], job) for name, side in sides.items()}
    difference = abs(losses["tenfold"] - losses["trainer"]) / losses["trainer"]
    tokens = sum(job["tokens"][WARM_UP:])
    return {
        "pairs": len(pairs),
        "updates_timed": len(job["tokens"]) - WARM_UP,
        "rows_per_update": row.batch_size,
        "tokens_per_update": round(statistics.mean(job["tokens"]), 1),
        **speeds("tokens_per_second", tokens, pairs, clock="ends", peer_name="trainer"),
        **speeds("tokens_per_cpu_second", tokens, pairs, clock="cpu_ends", peer_name="trainer"),
        "peak_memory_gb": {name: spread([each.peak_bytes / 1e9 for each in side]) for name, side in sides.items()},
        "peak_memory_ratio": spread([pair.ours.peak_bytes / pair.peer.peak_bytes for pair in pairs]),
        "loss": {
            **{name: [round(loss, 4) for loss in side[0].facts["losses"]] for name, side in sides.items()},
            "relative_difference": round(difference, 4),
            "tolerance": row.loss_tolerance,
            "agree": difference <= row.loss_tolerance,
        },
        "settings": {name: side[0].facts["settings"] for name, side in sides.items()},
        "versions": {name: side[0].facts["versions"] for name, side in sides.items()},
    }


def section(result: dict[str, Any]) -> str:
    """Return the row's part of the page."""
    loss = result["loss"]
    both = ("trainer", "tenfold")
    rows = {
        "tokens/s": [range_of(result["tokens_per_second"][side], 0) for side in both],
        "peak memory, GB": [range_of(result["peak_memory_gb"][side], 2) for side in both],
        "loss, update by update": [losses(loss[side]) for side in both],
        "settings": [settings_of(result["settings"][side]) for side in both],
        "versions": [versions_of(result["versions"][side]) for side in both],
    }
    return f"""## {result["title"]} (`{result["name"]}`)

All weights of `{result["model"]}` on licence notices, beside transformers' `Trainer`:
**{range_of(result["tokens_per_second_ratio"], 2)}** × its tokens a second
({range_of(result["tokens_per_cpu_second_ratio"], 2)} × a CPU second) in
**{range_of(result["peak_memory_ratio"], 2)}** × its memory. The aim is {result["aim"]} ×. Padding does not count as
tokens. Dropout is off on both sides.

{table(["", "Trainer", "Tenfold"], rows)}

* {result["pairs"]} pairs of {result["updates_timed"]} timed updates of {result["rows_per_update"]} rows, \
{result["tokens_per_update"]} tokens an update on average.
* The mean losses differ by {loss["relative_difference"]:.2%}; up to {loss["tolerance"]:.0%} is put down to bf16.
* {line_of_machine(result)}
"""
