"""Tasks of several kinds in one run: answers in words and labels by a head, mixed and in turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenfold.errors import RecipeError
from tenfold.running import run
from tests.techniques.conftest import Write

COLOURS = ("red", "green", "blue", "grey")


@pytest.fixture
def labelled(rows_file: Path, tmp_path: Path) -> dict[str, Any]:
    """The tasks `lamps`, answered in words, and `colours`, answered with a label."""
    path = tmp_path / "colours.jsonl"
    rows = [{"text": f"lamp {number} {COLOURS[number % 4]}", "label": COLOURS[number % 4]} for number in range(48)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"tasks": {"lamps": str(rows_file), "colours": str(path)}}


def test_words_and_labels_are_learned_from_one_mixture(write: Write, labelled: dict[str, Any]) -> None:
    technique = {"kind": "multi_task", "weighting": "uncertainty", "compare_alone": True}
    optim = {"max_updates": 30, "epochs": 5, "head_learning_rate": 1e-2}
    artifact = run(write(technique, data=labelled, optim=optim))
    for task in ("lamps", "colours"):
        score = artifact.scorecard.score("multi_task", task)
        assert score is not None
    change = artifact.scorecard.change("lamps", "response_loss")
    assert change is not None and change.is_better
    accuracy = artifact.scorecard.change("colours", "accuracy")
    assert accuracy is not None and accuracy.test.difference.mean > 0
    figures = {claim["claim"]: claim["because"] for claim in artifact.claims}
    assert "accuracy" in figures["on average over tasks no worse than a model for each of them"]


@pytest.mark.parametrize("order", [("lamps", "colours"), ("colours", "lamps")], ids=str)
def test_a_head_and_words_train_in_turn_with_replay_and_ewc(
    order: tuple[str, str], write: Write, labelled: dict[str, Any]
) -> None:
    stages = [{"task": task, "updates": 6} for task in order]
    technique = {"kind": "sequential", "stages": stages, "replay": 0.25, "ewc": 10.0, "fisher_rows": 4, "l2_sp": 0.1}
    artifact = run(write({**technique, "compare_straight": True}, data=labelled, optim={"max_updates": None}))
    assert artifact.scorecard.stages[-2:] == order
    assert artifact.lineage.trained_tasks() == dict(zip(order, order, strict=True))


def test_labels_have_no_distribution_over_tokens_to_distil(write: Write, labelled: dict[str, Any]) -> None:
    stages = [{"task": "lamps", "updates": 2}, {"task": "colours", "updates": 2}]
    with pytest.raises(RecipeError, match=r"technique.self_distillation: .* colours has none"):
        run(write({"kind": "sequential", "stages": stages, "self_distillation": 1.0}, data=labelled))


def test_with_a_frozen_network_only_heads_train_and_nothing_is_anchored(write: Write, labelled: dict[str, Any]) -> None:
    tasks = {"colours": labelled["tasks"]["colours"], "again": labelled["tasks"]["colours"]}
    stages = [{"task": "colours", "updates": 3}, {"task": "again", "updates": 3}]
    technique = {"kind": "sequential", "stages": stages, "ewc": 1.0, "l2_sp": 1.0, "fisher_rows": 2}
    artifact = run(write(technique, data={"tasks": tasks}, tuner={"kind": "frozen"}))
    assert artifact.scorecard.stages == ("before", "colours", "again")
