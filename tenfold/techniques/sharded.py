"""What goes with sharded weights (`runtime.fully_shard`), as far as a recipe says it: all else is refused by name."""

from __future__ import annotations

from tenfold.errors import ModelError, Problem
from tenfold.recipe import Recipe
from tenfold.recipe.tuners import Full, Lora

WHERE = "runtime.fully_shard"


def sharding_problems(recipe: Recipe, *, technique_shards: bool) -> list[Problem]:
    """Return what of `recipe` cannot be carried out while each process holds a part of the weights."""
    if not recipe.runtime.fully_shard:
        return []
    problems = []
    if not technique_shards:
        found = f"{recipe.technique.kind} reads or scores whole weights in between"
        allowed = "instruction, parameter_efficient, multi_task, or a technique of yours that says shards=True"
        problems.append(Problem(WHERE, found, allowed, "set it to false: each process then holds all weights"))
    found = _unfit(recipe)
    if found:
        allowed = "full (from the base), or lora (init default or gaussian, not decomposed, nothing in also_train)"
        problems.append(Problem(WHERE, found, allowed, "change the tuner, or set it to false"))
    if recipe.optim.optimizer != "adamw":
        found = f"optim.optimizer: {recipe.optim.optimizer} was not tried with parts of weights"
        problems.append(Problem(WHERE, found, "adamw", "change the optimizer, or set it to false"))
    return problems


def _unfit(recipe: Recipe) -> str:
    tuner = recipe.tuner
    if isinstance(tuner, Full):
        return "" if tuner.start == "base" else "tuner.start: scratch draws whole weights"
    if type(tuner) is not Lora:
        return f"{tuner.kind} was not tried with parts of weights"
    if tuner.decomposed or tuner.init not in ("default", "gaussian"):
        name = "decomposed: true" if tuner.decomposed else f"init: {tuner.init}"
        return f"tuner.{name} starts from whole weights"
    return "tuner.also_train copies whole modules" if tuner.also_train else ""


def require_shardable(recipe: Recipe, family: str | None) -> None:
    """Check that a model of this `family` can be sharded, where the recipe asks for it.

    Raises:
        ModelError: it is no decoder.
    """
    if recipe.runtime.fully_shard and family != "decoder":
        found = f"the model is of the family {family}"
        raise ModelError(Problem(WHERE, found, "decoders (causal language models)", "set it to false"))
