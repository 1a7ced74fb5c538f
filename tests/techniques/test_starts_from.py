"""Stages that go on from an earlier one: the model is what that one left, through merged tuners too."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tenfold.engine.stage import Stage, StageResult
from tenfold.errors import RunFailure
from tenfold.evaluation.scorecard import BEFORE
from tenfold.recipe import Recipe
from tenfold.recipe.tuners import Adalora, Full, Lora
from tenfold.running import run
from tenfold.techniques.context import Run
from tenfold.techniques.technique import Options, Technique
from tenfold.tuning.tuner import make_tuner


def logits(run: Run) -> Tensor:
    with torch.no_grad():
        answers: Tensor = run.model.network(input_ids=torch.tensor([[5, 9, 70, 33, 12]])).logits
    return answers.clone()


def driven(recipe: Recipe, monkeypatch: pytest.MonkeyPatch, stages: object) -> None:
    technique = Technique(kind="branches", summary="a tree of stages", when="in tests", stages=stages)  # type: ignore[arg-type]
    monkeypatch.setattr("tenfold.techniques.opened.find_technique", lambda kind: technique)
    run(recipe)


@pytest.mark.parametrize("second", [Lora(rank=2), Full(), Adalora(initial_rank=3, target_rank=2)], ids=str)
def test_it_finds_the_model_as_that_stage_left_it(
    second: Lora | Full | Adalora, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Tensor] = {}

    def stages(run: Run, options: Options) -> Generator[Stage, StageResult, None]:
        seen["base"] = logits(run)
        first, tuner = run.tuner, make_tuner(second)
        yield run.stage("one")
        seen["one"] = logits(run)
        yield replace(run.stage("two"), tuner=tuner, learning_rate=1e-3)
        seen["two"] = logits(run)
        from_base = run.attach(replace(run.stage("three"), tuner=first, starts_from=BEFORE))
        assert torch.equal(logits(run), seen["base"]), "an untrained adapter changes nothing"
        yield from_base
        from_two = run.attach(replace(run.stage("four"), tuner=tuner, starts_from="two"))
        assert torch.equal(logits(run), seen["two"])
        assert run.is_rebased and run.lineage.saved == ("one", "two")
        yield from_two
        run.attach(replace(run.stage("five"), tuner=first, starts_from="one"))
        assert torch.equal(logits(run), seen["one"])
        yield replace(run.stage("five"), tuner=first, starts_from="one")
        assert run.lineage.saved == ("one", "five")

    driven(recipe, monkeypatch, stages)
    assert not torch.equal(seen["one"], seen["two"])


def test_a_stage_that_left_the_store_is_told(recipe: Recipe, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def stages(run: Run, options: Options) -> Generator[Stage, StageResult, None]:
        yield run.stage("one")
        yield replace(run.stage("two"), starts_from=BEFORE)
        shutil.rmtree(cache / "stages")
        yield replace(run.stage("three"), starts_from="one")

    with pytest.raises(RunFailure, match=r"stage one: it was to be gone on from, and left the store"):
        driven(recipe, monkeypatch, stages)


def test_a_stage_that_was_never_trained_cannot_be_gone_on_from(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def stages(run: Run, options: Options) -> Generator[Stage, StageResult, None]:
        yield replace(run.stage("one"), starts_from="zero")

    with pytest.raises(AssertionError, match="zero, which has not been trained"):
        driven(recipe, monkeypatch, stages)
