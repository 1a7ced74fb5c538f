"""How distillation is measured: a student over some epochs, by a teacher that wrote its lessons down or by a live one.

Both start from the same student (half of the teacher's blocks), see the same tokens in the same order, and learn the
teacher's distribution alone. TRL's teacher reads every batch of every epoch; Tenfold's reads each row once, and that
time counts. What the two came to is judged by one measure that neither trains on in full.
"""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine
from bench.pairs import Measured, Pair, interleaved, run_process, spread
from bench.told import line_of_machine, losses, range_of, settings_of, table, versions_of
from bench.training import (
    BATCH_SIZE,
    JOBS,
    MAX_LENGTH,
    ROOT,
    Options,
    environment_of,
    tenfold_python,
    trl_python,
    write_rows,
)

SIDES = ("trl", "tenfold")


@dataclass(frozen=True)
class DistillingRow:
    """A student of so many of the teacher's blocks, and how long it learns."""

    name: str
    title: str
    blocks: int
    epochs: int
    learning_rate: float
    aim: float
    rows_stored: int
    """Rows whose lessons are weighed: of a few, the table of the tokens that they name is most of it."""
    aim_bytes: int
    """Of lessons on disk, for a supervised token."""

    def measure(self, options: Options) -> dict[str, Any]:
        """Return the row's figures, ready for JSON; an epoch has `options.updates` updates.

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
            if "ends" in measured.facts:
                print(f"  {name}: {_seconds(measured):.1f} s, {measured.peak_bytes / 1e9:.2f} GB", flush=True)
            return measured

        pairs = interleaved(
            options.pairs,
            lambda: run("trl", trl_python(), str(ROOT / "bench/peers/trl_gkd.py")),
            lambda: run("tenfold", tenfold_python(), "-m", "bench.ours.distil"),
        )
        judged = run("divergence", tenfold_python(), "-m", "bench.ours.divergence")
        stored = run("lessons", tenfold_python(), "-m", "bench.ours.lessons").facts
        return {
            "kind": "distilling",
            "name": self.name,
            "title": self.title,
            "aim": self.aim,
            "aim_bytes": self.aim_bytes,
            **machine.circumstances(before, pinned_to=options.cores, threads=threads),
            "blocks": self.blocks,
            "epochs": self.epochs,
            **figures(job, pairs),
            "stored": {**stored, "rows": self.rows_stored, "bytes_each": _each(stored)},
            "bytes_each_of_few": _each(pairs[0].ours.facts["stored"]),
            "divergence": {name: round(value, 4) for name, value in judged.facts["divergence"].items()},
        }


def prepare(row: DistillingRow, options: Options) -> Path:
    """Write the job that both sides read, and return its folder: the student, and the tokens of every update."""
    from bench.ours.train import Watch, open_run
    from tenfold.models.blocks import evenly_spaced
    from tenfold.models.load import load_tokenizer
    from tenfold.models.sources import resolve
    from tenfold.recipe import Recipe
    from tenfold.teaching.student import plain_origin, student_of_blocks
    from tenfold.teaching.teacher import shape_of

    folder = JOBS / row.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rows = write_rows(folder / "rows.jsonl")
    teacher = resolve(Recipe(model={"name": options.model}, data={"train": str(rows)}).model)  # type: ignore[arg-type]
    blocks = evenly_spaced(row.blocks, shape_of(teacher).blocks)
    student = student_of_blocks(plain_origin(teacher, load_tokenizer(teacher.folder)), blocks)
    recipe = _recipe(row, options, rows, teacher=teacher.folder, student=student.folder)
    stage = open_run(Recipe(**recipe), folder / "prepared", Watch()).stage("bench")
    windows = [stage.windows.window(update) for update in range(stage.total_updates)]
    entries = [stage.windows.prepared.entries(window.rows) for window in windows]  # type: ignore[attr-defined]
    job = {
        "recipe": recipe,
        "teacher": str(teacher.folder),
        "student": str(student.folder),
        "learning_rate": row.learning_rate,
        "batch_size": BATCH_SIZE,
        "updates_per_epoch": options.updates,
        "rows_stored": row.rows_stored,
        "windows": [
            [{"input_ids": entry.input_ids, "supervised": entry.supervised} for entry in update] for update in entries
        ],
        "tokens": [window.num_tokens for window in windows],
        "supervised": [sum(batch.num_supervised for batch in window.batches) for window in windows],
    }
    (folder / "job.json").write_text(json.dumps(job))
    return folder


def _recipe(row: DistillingRow, options: Options, rows: Path, *, teacher: Path, student: Path) -> dict[str, Any]:
    return {
        "model": {"name": str(student)},
        "technique": {"kind": "distillation", "teacher": str(teacher), "alpha": 1.0},
        "tuner": {"kind": "full"},
        "data": {
            "train": str(rows),
            "test_share": 0.0,
            "max_length": MAX_LENGTH,
            "max_rows": BATCH_SIZE * options.updates,
        },
        "optim": {
            "learning_rate": row.learning_rate,
            "epochs": row.epochs,
            "batch_size": BATCH_SIZE,
            "schedule": "constant",
            "warmup_share": 0.0,
        },
        "gate": {"allow": ["overlap"]},
        "runtime": {"device": "cpu", "precision": "bf16"},
    }


def _seconds(side: Measured, updates: int = 0, clock: int = 0) -> float:
    """Return the time from the first row to the end of so many updates (0: all), by the wall or the processor (1)."""
    ends = side.facts["cpu_ends" if clock else "ends"]
    return float(ends[updates - 1] - side.facts["start"][clock])


def figures(job: dict[str, Any], pairs: list[Pair]) -> dict[str, Any]:
    """Return what the pairs came to.

    Raises:
        RuntimeError: a side did not see exactly the job's tokens.
    """
    sides = {"trl": [pair.peer for pair in pairs], "tenfold": [pair.ours for pair in pairs]}
    tokens, epoch = sum(job["tokens"]), job["updates_per_epoch"]
    for name, side in sides.items():
        if {each.facts["tokens"][-1] for each in side} != {tokens}:
            raise RuntimeError(f"{name} saw {side[0].facts['tokens'][-1]} tokens, {tokens} in the job")

    def ratio(updates: int = 0, clock: int = 0) -> dict[str, float]:
        return spread([_seconds(pair.peer, updates, clock) / _seconds(pair.ours, updates, clock) for pair in pairs])

    return {
        "pairs": len(pairs),
        "updates": len(job["tokens"]),
        "tokens": tokens,
        "tokens_per_update": round(statistics.mean(job["tokens"]), 1),
        "supervised_share": round(sum(job["supervised"]) / tokens, 3),
        "tokens_per_second": {name: spread([tokens / _seconds(each) for each in side]) for name, side in sides.items()},
        "tokens_per_second_ratio": ratio(),
        "tokens_per_cpu_second_ratio": ratio(clock=1),
        "one_epoch_ratio": ratio(epoch),
        "one_epoch_cpu_ratio": ratio(epoch, clock=1),
        "teacher_share": spread(
            [(side.facts["taught"][1] - side.facts["start"][1]) / _seconds(side, clock=1) for side in sides["tenfold"]]
        ),
        "peak_memory_gb": {name: spread([each.peak_bytes / 1e9 for each in side]) for name, side in sides.items()},
        "peak_memory_ratio": spread([pair.ours.peak_bytes / pair.peer.peak_bytes for pair in pairs]),
        "loss": {name: [round(loss, 4) for loss in side[0].facts["losses"]] for name, side in sides.items()},
        "settings": {name: side[0].facts["settings"] for name, side in sides.items()},
        "versions": {name: side[0].facts["versions"] for name, side in sides.items()},
    }


def _each(stored: Mapping[str, float]) -> float:
    """Return the bytes of a supervised token."""
    return round(stored["bytes"] / stored["positions"], 1)


def section(result: dict[str, Any]) -> str:
    """Return the row's part of the page."""
    far, stored = result["divergence"], result["stored"]
    rows = {
        "tokens/s, all epochs": [range_of(result["tokens_per_second"][side], 0) for side in SIDES],
        "peak memory, GB": [range_of(result["peak_memory_gb"][side], 2) for side in SIDES],
        "KL to the teacher afterwards": [f"{far[side]:.3f}" for side in SIDES],
        "loss, update by update": [losses(result["loss"][side]) for side in SIDES],
        "settings": [settings_of(result["settings"][side]) for side in SIDES],
        "versions": [versions_of(result["versions"][side]) for side in SIDES],
    }
    return f"""## {result["title"]} (`{result["name"]}`)

A student of {result["blocks"]} blocks learns the teacher's distribution over {result["epochs"]} epochs, beside TRL's
`GKDTrainer` off policy (`lmbda=0`, `beta=0`), whose teacher reads every batch: Tenfold, whose teacher reads each row
once, takes **{range_of(result["tokens_per_second_ratio"], 2)}** × the tokens a second
({range_of(result["tokens_per_cpu_second_ratio"], 2)} × a CPU second), the teacher's time included, in
**{range_of(result["peak_memory_ratio"], 2)}** × the memory. The aim is {result["aim"]:g} ×, and \
{_reached(result["tokens_per_second_ratio"]["median"] >= result["aim"])}.
Over the first epoch alone it is {range_of(result["one_epoch_ratio"], 2)} ×
({range_of(result["one_epoch_cpu_ratio"], 2)} × by CPU seconds): most of the gain is not the cache.

{table(["", "TRL", "Tenfold"], rows)}

* The lessons of {stored["rows"]:,} rows take **{stored["bytes_each"]:,.0f}** bytes a supervised token on disk (their \
files whole; {stored["positions"]:,} of these tokens). The aim is at most {result["aim_bytes"]}, and \
{_reached(stored["bytes_each"] <= result["aim_bytes"])}. Of the few rows that the student met they take \
{result["bytes_each_of_few"]:,.0f}: part is a table of the tokens that are named. They hold \
{stored["kept_mass"]:.1%} of the teacher's probability; the rest counts as one.
* KL: from teacher to student over the whole vocabulary, on the training rows, in fp32; {far["start"]:.3f} before \
training. TRL's loss is that; Tenfold's is over the lessons' tokens and the rest as one, which is never more.
* The teacher's reading is {range_of(result["teacher_share"], 2)} of Tenfold's CPU time.
* {result["pairs"]} pairs of {result["updates"]} updates, {result["tokens_per_update"]} tokens an update on average, \
{result["supervised_share"]:.1%} of them in the loss; the first counts too. {line_of_machine(result)}
"""


def _reached(is_reached: bool) -> str:
    return "is reached" if is_reached else "**is missed**"
