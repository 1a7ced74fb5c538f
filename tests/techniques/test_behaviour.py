"""Every technique of the package keeps the promises that `tenfold.testing` checks."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tenfold.data.batch import Batch, pack
from tenfold.engine.stage import Stage, StageResult
from tenfold.models.language_model import LanguageModel, Route
from tenfold.models.trunk import Trunk
from tenfold.objectives.causal_lm import CausalLanguageModelling
from tenfold.objectives.objective import Loss
from tenfold.recipe import parse_recipe
from tenfold.techniques.context import Run
from tenfold.techniques.technique import BUILTIN, Options, find_technique
from tenfold.testing import check_objective, check_technique
from tests.techniques.teachers import teacher_model
from tests.tiny_models import tiny_model

Settings = dict[str, Any]

RECIPES: dict[str, Settings] = {
    "instruction": {},
    "parameter_efficient": {"technique": {"merge": True, "compare_full": True}},
    "task_specific": {},
    "transfer": {"technique": {"step_epochs": 0.2, "curve": [8, 16]}, "tuner": {"kind": "full"}},
    "multi_task": {"technique": {"weighting": "uncertainty", "compare_alone": True}, "basis": "tree"},
    "sequential": {
        "technique": {
            "stages": [{"task": "lamps", "updates": 3}, {"task": "words", "updates": 3}],
            "replay": 0.2,
            "ewc": 10.0,
            "fisher_rows": 4,
            "l2_sp": 0.1,
            "self_distillation": 0.5,
        },
        "basis": "tree",
    },
    "feature_based": {"technique": {"estimators": ["SVC", "RandomForestClassifier"], "folds": 3}, "basis": "labelled"},
    "adapters": {
        "technique": {"fuse": ["lamps", "words"], "fuse_on": "words", "drop_blocks": 1},
        "tuner": {"kind": "bottleneck", "reduction": 4},
        "basis": "tree",
    },
    "cross_lingual": {
        "technique": {"source": ["lamps"], "few_shot": [3], "few_shot_updates": 2},
        "basis": "tree",
    },
    "distillation": {"technique": {"teacher": "TEACHER", "student": {"layers": 1}, "compare": True}},
}
"""For each technique, what its recipe has beside that of the fixture `settings`, or of another one, its `basis`."""


def test_every_technique_is_checked_here() -> None:
    assert set(RECIPES) == set(BUILTIN)


@pytest.mark.parametrize("kind", RECIPES)
def test_a_technique_keeps_every_promise(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    own = dict(RECIPES[kind])
    basis = request.getfixturevalue(own.pop("basis", "settings"))
    tree = {**basis, **own, "technique": technique_of(kind, tmp_path)}
    check_technique(parse_recipe(tree), tmp_path / "runs")


def technique_of(kind: str, tmp_path: Path) -> Settings:
    """Return the technique's section of its recipe, with a teacher that is there."""
    section = {"kind": kind, **RECIPES[kind].get("technique", {})}
    if section.get("teacher") == "TEACHER":
        section["teacher"] = str(teacher_model(tmp_path / "teacher"))
    return section


def test_a_technique_that_no_store_can_tell_from_others_is_found(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Anonymous(CausalLanguageModelling):
        __repr__ = object.__repr__

    def stages(run: Run, options: Options) -> Generator[Stage, StageResult, None]:
        yield replace(run.stage("one"), objective=Anonymous())

    technique = replace(find_technique("instruction"), stages=stages)
    for module in ("tenfold.techniques.opened", "tenfold.testing"):
        monkeypatch.setattr(f"{module}.find_technique", lambda kind: technique)
    monkeypatch.setattr("tenfold.testing._says_what_it_is", lambda technique: None)
    with pytest.raises(AssertionError, match="trains nothing a second time"):
        check_technique(parse_recipe(settings), tmp_path / "runs")


def language_model() -> LanguageModel:
    return LanguageModel(tiny_model("llama"), None, device=torch.device("cpu"), route=Route(packs=False))  # type: ignore[arg-type]


def two_rows() -> tuple[Batch, list[Batch]]:
    rows = [
        (number, list(range(3, 3 + length)), [place > 1 for place in range(length)])
        for number, length in enumerate((5, 9))
    ]
    return pack(rows), [pack([row]) for row in rows]


def test_language_modelling_is_a_sum_over_what_it_counts() -> None:
    check_objective(CausalLanguageModelling(label_smoothing=0.1), language_model(), *two_rows())


def test_a_mean_in_place_of_a_sum_is_found() -> None:
    class Mean(CausalLanguageModelling):
        def __call__(self, model: Trunk, batch: Batch) -> Loss:
            return Loss(super().__call__(model, batch).total / self.weight(batch))

    with pytest.raises(AssertionError, match="its rows' sum"):
        check_objective(Mean(), language_model(), *two_rows())
