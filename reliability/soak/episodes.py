"""What is done over and over: a run of every technique, and between them what goes wrong in a long session."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import tenfold
from reliability.crash.workloads import TEACHERS, WORKLOADS, Workload, lay_out, write_recipe
from tenfold.answering import evaluate_rows, predict_rows
from tenfold.errors import Interrupted, NonFiniteLoss, RecipeError, SignalError

Episode = Callable[[Path], None]
"""What is done in a new folder, which is removed afterwards."""


class Broken(Exception):
    """What a user's listener raises."""


class Counts:
    """A listener that counts updates."""

    updates = 0

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take note of an event."""
        self.updates += event["event"] == "update"


class Breaks:
    """A listener that raises at the first update."""

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take note of an event."""
        if event["event"] == "update":
            raise Broken


def prepare(root: Path) -> None:
    """Write models and rows into `root`, and the teachers that some episodes learn from."""
    lay_out(root)
    for name, workload in TEACHERS.items():
        run_all(root / name, workload)


def run_all(folder: Path, workload: Workload, **options: Any) -> tenfold.Artifact:
    """Carry out a workload's recipe in `folder`, whose parent holds what `prepare` makes."""
    write_recipe(folder, workload)
    os.chdir(folder)
    return tenfold.run(tenfold.load_recipe(Path("recipe.yaml")), **options)


def trained(workload: Workload, folder: Path) -> None:
    """Run to the end."""
    run_all(folder, workload)


def used(folder: Path) -> None:
    """Run, open the artifact and let it answer and be scored, three times each."""
    artifact = run_all(folder, WORKLOADS["instruction"])
    for _ in range(3):
        list(predict_rows(artifact.folder, prompts=["lamp 3 red"], data=None, out=None, max_new_tokens=4, base=None))
        evaluate_rows(artifact.folder, data="../lamps.jsonl", max_rows=4, base=None)


def stopped_and_resumed(folder: Path) -> None:
    """Stop after the third update, then go on."""
    counts = Counts()
    ended(Interrupted, folder, WORKLOADS["instruction"], listeners=(counts,), stop_asked=lambda: counts.updates >= 3)
    run_all(folder, WORKLOADS["instruction"])


def broken_by_a_listener(folder: Path) -> None:
    """Let a listener raise in the midst of the training."""
    ended(Broken, folder, WORKLOADS["parameter_efficient"], listeners=(Breaks(),))


def refused(error: type[Exception], sections: Mapping[str, Any], folder: Path) -> None:
    """Give a recipe that ends in `error`."""
    known = WORKLOADS["instruction"]
    ended(error, folder, replace(known, sections={**known.sections, **sections}))


def ended(error: type[Exception], folder: Path, workload: Workload, **options: Any) -> None:
    """Run what must end in `error`."""
    try:
        run_all(folder, workload, **options)
    except error:
        return
    raise AssertionError(f"it did not end in {error.__name__}")


RUNAWAY: Mapping[str, Any] = {
    "tuner": {"kind": "full"},
    "optim": {"learning_rate": 10.0, "weight_decay": 1.0, "warmup_share": 0.0, "epochs": 30, "max_updates": 80},
}
"""Each update takes ten times a weight away from it."""

FAILURES: Mapping[str, Episode] = {
    "stopped and resumed": stopped_and_resumed,
    "broken by a listener": broken_by_a_listener,
    "a key that no recipe has": partial(refused, RecipeError, {"optim": {"lerning_rate": 1.0}}),
    "refused by the gate": partial(refused, SignalError, {"data": {"test": "../lamps.jsonl", "test_share": 0.0}}),
    "a loss that is not finite": partial(refused, NonFiniteLoss, RUNAWAY),
}
"""What goes wrong on purpose."""

EPISODES: Mapping[str, Episode] = {
    **{name: partial(trained, workload) for name, workload in WORKLOADS.items()},
    "used": used,
    **FAILURES,
}
"""A round: one after another, then all over again."""
