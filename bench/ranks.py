"""How much memory each of several processes needs where weights are shared out, beside one that holds them all.

All processes of a run stand on the same core, with whatever else works there: their speed says nothing of ranks.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine
from bench.told import line_of_machine, table
from bench.training import BATCH_SIZE, JOBS, MAX_LENGTH, Options, environment_of, tenfold_python, write_rows

UPDATES = 3
PHASES = ("loading", "training", "saving")


@dataclass(frozen=True)
class RanksRow:
    """A tuning by so many processes each time, the first time by one."""

    name: str
    title: str
    tuner: Mapping[str, object]
    counts: Sequence[int]
    precision: str
    aim: float
    """The largest memory of each of two processes, as a share of that of one."""

    def measure(self, options: Options) -> dict[str, Any]:
        """Return the row's figures, ready for JSON; each number of processes is measured once.

        Raises:
            RuntimeError: a process failed, with the end of what it printed.
        """
        before = machine.load()
        threads = machine.pin(options.cores)
        runs = [self._run(options, count, threads) for count in self.counts]
        one = runs[0]
        return {
            "kind": "ranks",
            "name": self.name,
            "title": self.title,
            "aim": self.aim,
            "precision": self.precision,
            **machine.circumstances(before, pinned_to=options.cores, threads=threads),
            "updates": UPDATES,
            "order": "one after the other",
            "runs": runs,
            "share": {
                of: {str(run["count"]): round(_peak(run, of) / _peak(one, of), 3) for run in runs[1:]}
                for of in ("resident", "own", "beyond_libraries")
            },
            "loss_difference": {
                str(run["count"]): max(abs(a - b) / abs(a) for a, b in zip(one["losses"], run["losses"], strict=True))
                for run in runs[1:]
            },
        }

    def _run(self, options: Options, count: int, threads: int) -> dict[str, Any]:
        folder = JOBS / self.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        recipe = {
            "model": {"name": options.model},
            "tuner": dict(self.tuner),
            "data": {"train": str(write_rows(folder / "rows.jsonl")), "test_share": 0.0, "max_length": MAX_LENGTH},
            "optim": {"learning_rate": 2e-5, "max_updates": UPDATES, "batch_size": BATCH_SIZE},
            "gate": {"allow": ["overlap", "truncation", "no_supervision"]},
            "runtime": {"device": "cpu", "precision": self.precision, "fully_shard": True, "threads": threads},
        }
        (folder / "job.json").write_text(json.dumps({"recipe": recipe}))
        found = _together(folder, count, environment_of(threads))
        run = {"count": count, **_largest(found), **_speed(found[0]), "losses": found[0]["losses"]}
        print(f"  {run}", flush=True)
        return run


def _together(folder: Path, count: int, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return what each of `count` processes wrote down, which were started as `torchrun` does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(count):
        numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port}
        place = {name: str(value) for name, value in numbers.items()} | {"MASTER_ADDR": "127.0.0.1"}
        place |= {"MALLOC_MMAP_THRESHOLD_": str(2**20)}  # what Tenfold sets for several, for the one alone too
        command = [tenfold_python(), "-m", "bench.ours.shard", str(folder), str(folder / f"{rank}.json")]
        with (folder / f"{rank}.log").open("w") as said:
            processes.append(
                subprocess.Popen(
                    command, stdout=said, stderr=subprocess.STDOUT, env={**os.environ, **environment, **place}
                )
            )
    codes = [process.wait() for process in processes]
    for rank, code in enumerate(codes):
        if code:
            raise RuntimeError(f"rank {rank} of {count} failed:\n{(folder / f'{rank}.log').read_text()[-3000:]}")
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(count)]


def _largest(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return of libraries and phases what the rank that held most held, in GB."""
    libraries = {of: _gb(max(each["libraries"][of] for each in found)) for of in ("own", "resident")}
    peaks = {
        phase: {of: _gb(max(each["peaks"][phase][of] for each in found)) for of in ("own", "resident")}
        for phase in PHASES
    }
    return {"libraries_gb": libraries, "peaks_gb": peaks}


def _gb(size: int) -> float:
    return round(size / 1e9, 3)


def _speed(first: Mapping[str, Any]) -> dict[str, float]:
    """Return tokens a second after the first update, all processes together."""
    seconds = first["ends"][-1] - first["ends"][0]
    return {"tokens_per_second": round((first["tokens"][-1] - first["tokens"][0]) / seconds, 1)}


def _peak(run: Mapping[str, Any], of: str) -> float:
    """Return the most that a process of `run` held in any phase, in GB."""
    if of == "beyond_libraries":
        return _peak(run, "own") - float(run["libraries_gb"]["own"])
    return max(float(run["peaks_gb"][phase][of]) for phase in PHASES)


def section(result: dict[str, Any]) -> str:
    """Return the row's part of the page."""
    rows = {
        f"{run['count']} process{'' if run['count'] == 1 else 'es'}": [
            *(f"{run['peaks_gb'][phase]['resident']:.2f}" for phase in PHASES),
            f"{_peak(run, 'own'):.2f}",
            f"{run['libraries_gb']['own']:.2f}",
            *(_share(result, of, run["count"]) for of in ("resident", "beyond_libraries")),
            f"{run['tokens_per_second']:,.0f}",
        ]
        for run in result["runs"]
    }
    of_two = result["share"]["resident"]["2"]
    apart = ", ".join(f"{value:.1e} with {count}" for count, value in result["loss_difference"].items())
    heads = ["", *PHASES, "own", "libraries", "of one's", "of one's, beyond libraries", "tokens/s"]
    return f"""## {result["title"]} (`{result["name"]}`)

Peak memory of the process that holds most, in GB, with `runtime.fully_shard: true` in {result["precision"]}: all that
is in memory, while the model is loaded, trained and kept in a checkpoint; the most that is the process's own (no file
behind it), and how much of that it holds before the model is loaded. Each of two processes takes **{of_two:.2f}** of
what one takes; the aim of {result["aim"]} or less is {"met" if of_two <= result["aim"] else "**missed**"}. Beyond the
libraries, which every process needs whole, it is {result["share"]["beyond_libraries"]["2"]:.2f}.

{table(heads, rows)}

* All processes of a run share one core with other work, so tokens/s say nothing of how fast ranks are.
* All give freed pieces of 1 MB or more back to the system: Tenfold sets that for several processes, and here the one
  alone is given it too. Training includes the checkpoint after the last update, which the third column shows alone.
* Largest relative difference of a loss from one process: {apart}.
* {result["updates"]} updates of {BATCH_SIZE} rows, each number of processes once, {result["order"]}. \
{line_of_machine(result)}
"""


def _share(result: Mapping[str, Any], of: str, count: int) -> str:
    return "1" if count == 1 else f"{result['share'][of][str(count)]:.2f}"
