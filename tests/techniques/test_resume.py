"""Runs of several stages, killed with SIGKILL in any of them, end bit-identical to ones that were never stopped."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tenfold.files import sha256_file
from tenfold.recipe import Recipe
from tenfold.running import run
from tests.techniques.conftest import Write

SEQUENTIAL: dict[str, Any] = {
    "kind": "sequential",
    "stages": [
        {"task": "lamps", "updates": 4},
        {"task": "words", "updates": 5},
        {"task": "lamps", "updates": 4, "name": "again"},
    ],
    "replay": 0.25,
    "ewc": 50.0,
    "fisher_rows": 6,
    "self_distillation": 0.5,
    "compare_cures": True,
}
MULTI_TASK: dict[str, Any] = {"kind": "multi_task", "weighting": "uncertainty", "compare_alone": True}

ADAPTERS: dict[str, Any] = {"kind": "adapters", "fuse": ["lamps", "words"], "fuse_on": "words"}
CROSS_LINGUAL: dict[str, Any] = {
    "kind": "cross_lingual",
    "source": ["lamps"],
    "few_shot": [4],
    "few_shot_updates": 3,
    "language_text": {"lamps": "lamps.txt", "words": "words.txt"},
}
"""With adapters of the languages under the task's."""
LORA: dict[str, Any] = {"kind": "lora", "rank": 4, "dropout": 0.2}  # so that random state matters
BOTTLENECK: dict[str, Any] = {"kind": "bottleneck", "reduction": 4, "dropout": 0.2}


class KillAt:
    """A listener that kills the process at update `number` of a stage, or where the stage is scored."""

    def __init__(self, moment: str) -> None:
        self.stage, _, self.number = moment.partition(":")

    def hear(self, event: Mapping[str, object]) -> None:
        is_update = event["event"] == "update" and str(event["update"]) == self.number
        is_scoring = event["event"] == "scoring" and self.number == "scoring"
        if event.get("stage") == self.stage and (is_update or is_scoring):
            os.kill(os.getpid(), signal.SIGKILL)


def child(recipe: Recipe, moment: str, cache: Path) -> int:
    """Run `recipe` in a process of its own that dies at `moment`; return minus the signal that ended it, or 0."""
    process = os.fork()
    if process == 0:
        try:
            os.environ["TENFOLD_CACHE"] = str(cache)
            run(recipe, listeners=(KillAt(moment),))
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


def outcome(folder: Path) -> tuple[object, ...]:
    """Return the weights' hash, every update's loss and gradient, all scores, the lineage and what was told."""
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    curve = {
        (event["stage"], event["update"]): (event["loss"], event["gradient_norm"])
        for event in events
        if event["event"] == "update"
    }
    files = [json.loads((folder / name).read_text()) for name in ("scorecard.json", "lineage.json")]
    reported = json.loads((folder / "artifact.json").read_text())["reported"]
    (weights,) = (folder / "adapter").glob("adapter*.safetensors")
    return sha256_file(weights), curve, *files, reported


@pytest.mark.parametrize(
    ("technique", "tuner", "moments"),
    [
        (SEQUENTIAL, LORA, ("lamps:3", "words@replay:3", "again@ewc:1", "words:scoring", "again:3")),
        (MULTI_TASK, LORA, ("words@alone:2", "multi_task:5", "multi_task:scoring")),
        (ADAPTERS, BOTTLENECK, ("lamps:3", "words:scoring", "words@lamps:scoring", "fusion:2", "bare base:scoring")),
        (
            CROSS_LINGUAL,
            BOTTLENECK,
            ("text-lamps:3", "zero_shot:2", "zero_shot:scoring", "words@4:2", "words@4-alone:1", "few_shot:1"),
        ),
    ],
    ids=["sequential", "multi_task", "adapters", "cross_lingual"],
)
def test_killed_in_any_stage_it_ends_as_if_it_had_never_stopped(
    technique: dict[str, Any],
    tuner: dict[str, Any],
    moments: tuple[str, ...],
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    optim = {"max_updates": None, "learning_rate": 1e-2}
    for name in ("lamps", "words"):
        (tmp_path / f"{name}.txt").write_text("\n\n".join(f"{name} {number}" for number in range(40)))
    monkeypatch.chdir(tmp_path)
    straight, killed = (write(technique, tuner=tuner, optim=optim, evaluation={"max_rows": 3}) for _ in range(2))
    assert child(straight, "never", tmp_path / "cache-1") == 0
    for moment in moments:
        assert child(killed, moment, tmp_path / "cache-2") == -signal.SIGKILL, moment
    assert child(killed, "never", tmp_path / "cache-2") == 0
    assert outcome(Path(killed.output)) == outcome(Path(straight.output))
