"""`optim.total_updates`: whatever its stages, a run trains for so many updates."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tenfold.errors import RecipeError
from tenfold.recipe import parse_recipe
from tenfold.running import run
from tests.techniques.test_behaviour import RECIPES, technique_of

BUDGET = 11


@pytest.mark.parametrize("kind", sorted(set(RECIPES) - {"feature_based"}))
def test_all_stages_together_take_the_budget(kind: str, request: pytest.FixtureRequest, tmp_path: Any) -> None:
    own = dict(RECIPES[kind])
    basis = request.getfixturevalue(own.pop("basis", "settings"))
    optim = {**basis["optim"], "total_updates": BUDGET}
    recipe = parse_recipe({**basis, **own, "technique": technique_of(kind, tmp_path), "optim": optim})
    artifact = run(recipe)
    events = map(json.loads, (artifact.folder / "log.jsonl").read_text().splitlines())
    updates = Counter(event["stage"] for event in events if event["event"] == "update")
    assert updates.total() == BUDGET
    assert min(updates.values()) >= 1


def test_fewer_updates_than_stages_are_refused(request: pytest.FixtureRequest, tmp_path: Any) -> None:
    basis = request.getfixturevalue("settings")
    technique = {"kind": "transfer", "unfreeze_steps": 2, "step_epochs": 1}
    tree = {**basis, "technique": technique, "tuner": {"kind": "full"}}
    with pytest.raises(RecipeError, match=r"1 updates for \d stages"):
        run(parse_recipe({**tree, "optim": {**basis["optim"], "total_updates": 1}}))
