"""One budget for all stages of a run: `optim.total_updates`, shared out in proportion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tenfold.data.mixture import apportioned
from tenfold.engine.stage import Stage
from tenfold.errors import Problem, RecipeError


def shared_out(total: int | None, stages: Sequence[Stage]) -> dict[str, int]:
    """Return for each stage, by name, its share of `total` updates; nothing where there is no total.

    Raises:
        RecipeError: there are fewer updates than stages.
    """
    if total is None or not stages:
        return {}
    if total < len(stages):
        found = f"{total} updates for {len(stages)} stages"
        raise RecipeError(Problem("optim.total_updates", found, f"at least {len(stages)}", "raise it"))
    planned = sum(stage.total_updates for stage in stages)
    shares = apportioned(total, [stage.total_updates / planned for stage in stages])
    return {stage.name: updates for stage, updates in zip(stages, shares, strict=True)}


def in_budget(stage: Stage, budget: Mapping[str, int]) -> Stage:
    """Return `stage` with its updates in `budget`, as it is where there is none.

    Raises:
        RecipeError: the technique's plan does not name the stage.
    """
    if not budget:
        return stage
    if stage.name not in budget:
        found = f"the technique's plan names {', '.join(budget)}, and not the stage {stage.name}"
        remedy = "give the technique a plan that returns its stages, or leave the number unset"
        raise RecipeError(Problem("optim.total_updates", found, remedy=remedy))
    return replace(stage, total_updates=budget[stage.name])
