"""What the search for learning rates tells: which rate goes on, and who is clearly behind already."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from tenfold.compare.ranking import rank
from tenfold.evaluation.scorecard import Measure
from tenfold.recipe import Recipe
from tenfold.techniques.technique import find_technique

Key = TypeVar("Key")


@dataclass(frozen=True)
class Searched:
    """What a run of the search came to on validation rows."""

    rate: float
    measure: Measure
    seconds: float


def alike(found: Mapping[Key, Searched]) -> dict[Key, Searched]:
    """Return those that measure what the first one does: where a metric is not defined, another stands in its place."""
    first = next(iter(found.values()), None)
    return {key: each for key, each in found.items() if first is not None and _kind(each) == _kind(first)}


def _kind(each: Searched) -> object:
    measure = each.measure
    return measure.quantity, measure.aggregation, measure.num_items, measure.weights


def best_of(tried: Mapping[float, Searched]) -> float:
    """Return the multiple of the usual rate that did best; of equals the one nearest to 1; 1 where none was tried."""
    if not tried:
        return 1.0
    best = max(each.measure.worth for each in tried.values())
    return min((factor for factor, each in tried.items() if each.measure.worth == best), key=lambda each: abs(each - 1))


def clearly_behind(found: Mapping[str, Searched], *, seeds: int) -> dict[str, str]:
    """Return which of the ways get one seed, not all of `seeds`, and why: at most the worse half."""
    standings = rank({name: [each.measure] for name, each in alike(found).items()})
    behind = [each for each in standings[math.ceil(len(standings) / 2) :] if not each.is_tied]
    told = f"clearly behind {standings[0].name} on validation rows after the search" if standings else ""
    return {each.name: f"1 of {seeds} seeds: {told}" for each in behind}


def only_searching(recipe: Recipe) -> Recipe:
    """Return `recipe` without what it would measure beside the score that a learning rate is chosen by."""
    evaluation = recipe.evaluation.model_copy(update={"retention": False, "samples": 0})
    unneeded = find_technique(recipe.technique.kind).options.in_search
    technique = recipe.technique.model_copy(update=dict(unneeded))
    return recipe.model_copy(update={"evaluation": evaluation, "technique": technique})
