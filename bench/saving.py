"""What Tenfold's options that save memory come to, beside a peer without them: one job, each way in a fresh process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench import machine
from bench.pairs import Measured, spread
from bench.told import line_of_machine, range_of, table, times
from bench.training import WARM_UP, Options, Sides, TrainingRow, environment_of, mean_loss, prepare, seconds_of

PEER = "TRL"


@dataclass(frozen=True)
class SavingRow:
    """A training row, again with each of some settings of `optim`."""

    name: str
    title: str
    training: TrainingRow
    ways: Mapping[str, Mapping[str, object]]
    """What is put into `optim`, by what it is called; the first one is what the others are measured by."""
    aim: float
    """Largest share of the peer's memory."""

    def measure(self, options: Options) -> dict[str, Any]:
        """Return the row's figures, ready for JSON."""
        before = machine.load()
        threads = machine.pin(options.cores)
        found: dict[str, list[dict[str, float]]] = {PEER: [], **{name: [] for name in self.ways}}
        versions = {}
        for _ in range(options.pairs):
            for name in found:
                training = replace(self.training, name=self.name, optim=self.ways.get(name, {}))
                folder = prepare(training, options)
                sides = Sides(folder, environment=environment_of(threads))
                measured = sides.peer() if name == PEER else sides.ours()
                found[name].append(_figures(measured, json.loads((folder / "job.json").read_text())))
                versions[name] = measured.facts["versions"]
        return {
            "kind": "saving",
            "name": self.name,
            "title": self.title,
            "aim": self.aim,
            **machine.circumstances(before, pinned_to=options.cores, threads=threads),
            "times": options.pairs,
            "updates_timed": options.updates,
            "ways": {name: dict(way) for name, way in self.ways.items()},
            "figures": {
                name: {figure: spread([each[figure] for each in every]) for figure in every[0]}
                for name, every in found.items()
            },
            "versions": {"trl": versions[PEER], "tenfold": versions[next(iter(self.ways))]},
        }


def _figures(measured: Measured, job: dict[str, Any]) -> dict[str, float]:
    return {
        "peak_memory_gb": measured.peak_bytes / 1e9,
        "tokens_per_cpu_second": sum(job["tokens"][WARM_UP:]) / seconds_of(measured, "cpu_ends"),
        "mean_loss": mean_loss(measured, job),
    }


def section(result: dict[str, Any]) -> str:
    """Return the row's part of the page."""
    figures = result["figures"]
    peer = figures[PEER]["peak_memory_gb"]["median"]
    rows = {
        name: [
            ", ".join(f"`{key}: {json.dumps(value)}`" for key, value in result["ways"].get(name, {}).items()),
            range_of(of["peak_memory_gb"], 2),
            f"{of['peak_memory_gb']['median'] / peer:.2f}",
            range_of(of["tokens_per_cpu_second"], 0),
            f"{of['mean_loss']['median']:.4f}",
        ]
        for name, of in figures.items()
    }
    heads = ["", "in `optim`", "peak memory, GB", f"of {PEER}'s", "tokens per CPU second", "mean loss"]
    return f"""## {result["title"]} (`{result["name"]}`)

The job of `full_cpu`, with the options that save memory. The aim is {result["aim"]} × {PEER}'s memory or less.

{table(heads, rows)}

* Gradients come as activations go, so dropping them hardly lowers the peak by itself; it does where activations are
  computed again (`runtime.gradient_checkpointing`) or the state is small.
* {result["updates_timed"]} timed updates, {times(result["times"])}. {line_of_machine(result)}
"""
