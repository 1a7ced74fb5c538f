"""Killed with SIGKILL and run again, a run ends bit-identical to one that was never stopped."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tenfold.engine import checkpoint as checkpoint_module
from tenfold.files import sha256_file
from tenfold.recipe import load_recipe
from tenfold.running import run
from tests.engine.killing import KillAt

# dropout, so that random state matters; a window shorter than the others; an evaluation that selects the best
TREE: dict[str, Any] = {
    "tuner": {"kind": "lora", "rank": 4, "dropout": 0.2},
    "optim": {"batch_size": 8, "epochs": 3, "learning_rate": 1e-2},
    "evaluation": {"max_rows": 4, "max_new_tokens": 4, "retention": False, "every": 3},
    "runtime": {"precision": "fp32", "device": "cpu", "checkpoint_every": 3},
}


def die_while_saving(number: int) -> None:
    """Let this process die after the second file of the checkpoint at update `number`."""
    save_file = checkpoint_module.save_file
    calls = 0

    def save_and_die(tensors: dict[str, torch.Tensor], path: Path) -> None:
        nonlocal calls
        save_file(tensors, path)
        calls += f"update-{number:08d}" in str(path)
        if calls == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint_module.save_file = save_and_die  # type: ignore[assignment]


def child(recipe: Path, moment: str, cache: Path) -> int:
    """Run `recipe` in a process of its own that dies at `moment`; return minus the signal that ended it, or 0."""
    process = os.fork()
    if process == 0:
        try:
            os.environ["TENFOLD_CACHE"] = str(cache)
            kind, _, number = moment.partition(":")
            if kind == "saving":
                die_while_saving(int(number))
            run(load_recipe(recipe), listeners=(KillAt(int(number)),) if kind == "update" else ())
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status)


def outcome(folder: Path) -> tuple[str, list[tuple[float, float]], object]:
    """Return the weights' hash, every update's loss and gradient, and all scores."""
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    curve = [(event["loss"], event["gradient_norm"]) for event in events if event["event"] == "update"]
    scores = json.loads((folder / "scorecard.json").read_text())
    return sha256_file(folder / "adapter" / "adapter_model.safetensors"), curve, scores


@pytest.fixture
def write_recipe(tmp_path: Path, model_folder: Path, rows_file: Path) -> Any:
    def write(name: str, **tuner: object) -> Path:
        tree = TREE | {
            "model": {"name": str(model_folder)},
            "data": {"train": str(rows_file), "test_share": 0.2, "validation_share": 0.1},
            "output": str(tmp_path / name),
        }
        if tuner:
            tree["tuner"] = tuner
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return path

    return write


def test_killed_at_several_moments_it_ends_as_if_it_had_never_stopped(write_recipe: Any, tmp_path: Path) -> None:
    straight, killed = write_recipe("straight"), write_recipe("killed")
    assert child(straight, "never", tmp_path / "cache-1") == 0
    for moment in ("update:2", "update:5", "saving:9", "update:10"):
        assert child(killed, moment, tmp_path / "cache-2") == -signal.SIGKILL, moment
    assert child(killed, "never", tmp_path / "cache-2") == 0
    assert len(outcome(tmp_path / "straight")[1]) > 10
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "straight")


def test_a_tuner_with_a_state_of_its_own_resumes_too(write_recipe: Any, tmp_path: Path) -> None:
    tuner = {"kind": "adalora", "initial_rank": 4, "target_rank": 2}
    straight, killed = write_recipe("straight", **tuner), write_recipe("killed", **tuner)
    assert child(straight, "never", tmp_path / "cache-1") == 0
    assert child(killed, "update:10", tmp_path / "cache-2") == -signal.SIGKILL
    assert child(killed, "never", tmp_path / "cache-2") == 0
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "straight")
