"""Every technique with every kind of tuner: it runs to its end, or is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tenfold.errors import UserError
from tenfold.recipe import Recipe, parse_recipe
from tenfold.recipe.tuners import TUNERS
from tenfold.running import run
from tenfold.techniques.technique import find_technique
from tenfold.techniques.world import open_world
from tests.techniques.test_behaviour import RECIPES, technique_of

Settings = dict[str, Any]

SETTINGS: dict[str, Settings] = {
    "full": {},
    "partial": {"modules": ["layers"]},
    "frozen": {},
    "lora": {"rank": 2},
    "qlora": {"rank": 2},
    "ia3": {},
    "prefix": {"num_virtual_tokens": 2},
    "prompt": {"num_virtual_tokens": 2},
    "p_tuning": {"num_virtual_tokens": 2},
    "vera": {"rank": 4},
    "oft": {"block_size": 8},
    "adalora": {"initial_rank": 3, "target_rank": 2},
    "bottleneck": {"reduction": 4},
    "peft": {"method": "loha", "options": {"r": 2, "target_modules": ["q_proj"]}},
}
"""Each kind that stands by itself, with settings for a tiny model; a fusion needs adapters that were trained before."""

ADD_WEIGHTS = {"lora", "qlora", "ia3", "vera", "oft", "adalora", "peft"}
MERGE = ADD_WEIGHTS | {"full", "partial"}
ADAPT = set(SETTINGS) - {"full", "partial", "frozen"}
RUNS: dict[str, set[str]] = {
    "instruction": ADAPT | MERGE,
    "parameter_efficient": ADD_WEIGHTS,  # the recipe asks for a merged copy
    "task_specific": ADAPT | MERGE,
    "transfer": {"full"},  # the recipe asks for a curve, which trains from random weights too
    "multi_task": ADAPT | MERGE,
    "sequential": ADAPT | MERGE,
    "feature_based": {"frozen"},
    "adapters": {"bottleneck"},
    "cross_lingual": ADAPT | MERGE,
    "distillation": MERGE,  # the recipe makes a student, which is saved whole
}
"""The tuners with which the recipe of each technique in `RECIPES` runs, on rows that are answered in words."""


FORBIDDING: dict[str, Settings] = {
    "parameter_efficient": {"merge": False},
    "transfer": {"curve": []},
    "distillation": {"student": None},
}
"""Options without which the same technique takes every tuner."""


def composed(kind: str, tuner: str, request: pytest.FixtureRequest, tmp_path: Path, **options: Any) -> Recipe:
    """Return the recipe of technique `kind` that the behaviour suite has, with another tuner and two updates."""
    own = dict(RECIPES[kind])
    basis = request.getfixturevalue(own.pop("basis", "settings"))
    changed = {"technique": technique_of(kind, tmp_path) | options, "tuner": {"kind": tuner, **SETTINGS[tuner]}}
    optim = {**basis["optim"], "max_updates": 2}
    return parse_recipe({**basis, **own, **changed, "optim": optim, "output": str(tmp_path / "out")})


def check(recipe: Recipe) -> None:
    """Raise what `tenfold check` would tell before its trial update."""
    technique = find_technique(recipe.technique.kind)
    options = technique.require_fit(recipe)
    recipe = technique.expand(recipe, options)
    technique.meet(open_world(recipe, technique.starting(recipe, options)), options)


def test_every_technique_and_every_tuner_is_in_the_table() -> None:
    assert set(RUNS) == set(RECIPES)
    assert set(SETTINGS) == set(TUNERS) - {"adapter_fusion"}


@pytest.mark.parametrize("tuner", SETTINGS)
@pytest.mark.parametrize("kind", RUNS)
def test_a_pair_runs_or_is_refused_before_anything_trains(
    kind: str, tuner: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    recipe = composed(kind, tuner, request, tmp_path)
    if tuner in RUNS[kind]:
        runs_and_opens(recipe)
    else:
        with pytest.raises(UserError, match=tuner):
            check(recipe)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "tuner"), [(kind, tuner) for kind in FORBIDDING for tuner in sorted(ADAPT - RUNS[kind])], ids=str
)
def test_without_the_option_that_forbids_it_a_pair_runs(
    kind: str, tuner: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    runs_and_opens(composed(kind, tuner, request, tmp_path, **FORBIDDING[kind]))


def runs_and_opens(recipe: Recipe) -> None:
    """Check `recipe`, run it, and open what it left behind."""
    check(recipe)
    artifact = run(recipe)
    assert artifact.facts["technique"] == recipe.technique.kind
    assert len({score.stage for score in artifact.scorecard.scores}) > 1, "scored before and after"
    artifact.load()
