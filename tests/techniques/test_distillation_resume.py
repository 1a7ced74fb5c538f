"""Killed with SIGKILL and run again, a distillation ends bit-identical to one that was never stopped."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.engine.test_resume import child, outcome
from tests.techniques.teachers import teacher_model

LEVELS: dict[str, dict[str, Any]] = {
    "logits": {"compare": True, "top_k": 16},
    "projections": {"hidden": {"layers": [[0, 1], [1, 3]], "distance": "mse"}},
    "on_policy": {"level": "on_policy", "on_policy": {"share": 0.5, "every": 2, "max_new_tokens": 6}},
}


@pytest.mark.parametrize("level", LEVELS)
def test_killed_at_several_moments_it_ends_as_if_it_had_never_stopped(
    level: str, model_folder: Path, rows_file: Path, tmp_path: Path
) -> None:
    teacher = teacher_model(tmp_path / "teacher")
    tree = {
        "model": {"name": str(model_folder)},
        "technique": {"kind": "distillation", "teacher": str(teacher), **LEVELS[level]},
        "tuner": {"kind": "lora", "rank": 4, "dropout": 0.2},
        "data": {"train": str(rows_file), "test_share": 0.2, "validation_share": 0.1},
        "optim": {"batch_size": 8, "epochs": 2, "learning_rate": 1e-2},
        "evaluation": {"max_rows": 4, "max_new_tokens": 4, "retention": False, "every": 3},
        "runtime": {"precision": "fp32", "device": "cpu", "threads": 1, "checkpoint_every": 2},
    }
    recipes = {}
    for name in ("straight", "killed"):
        recipes[name] = tmp_path / f"{name}.yaml"
        recipes[name].write_text(yaml.safe_dump({**tree, "output": str(tmp_path / name)}), encoding="utf-8")
    assert child(recipes["straight"], "never", tmp_path / "cache-1") == 0
    for moment in ("update:3", "saving:4", "update:7"):
        assert child(recipes["killed"], moment, tmp_path / "cache-2") == -signal.SIGKILL, moment
    assert child(recipes["killed"], "never", tmp_path / "cache-2") == 0
    assert len(outcome(tmp_path / "straight")[1]) > 8
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "straight")
