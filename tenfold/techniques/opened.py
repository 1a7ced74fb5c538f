"""From a recipe to what a run of it needs: its technique and options, fitting rows, tokenizer and model files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tenfold.recipe import Recipe
from tenfold.techniques.technique import Technique, find_technique
from tenfold.techniques.world import World, open_world


@dataclass(frozen=True)
class Opened:
    """A recipe that nothing was found against, before its model is loaded."""

    technique: Technique
    options: Any
    recipe: Recipe
    """With its tasks written out, where they follow from the rows."""
    world: World


def open_recipe(recipe: Recipe) -> Opened:
    """Return what a run of `recipe` needs.

    Raises:
        UserError: the recipe, its data or its model cannot be used as asked, or do not fit its technique.
    """
    technique = find_technique(recipe.technique.kind)
    options = technique.require_fit(recipe)
    recipe = technique.expand(recipe, options)
    world = open_world(recipe, technique.starting(recipe, options))
    technique.meet(world, options)
    return Opened(technique, options, recipe, world)
