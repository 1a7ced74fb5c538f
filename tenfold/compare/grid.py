"""What is to be compared: a recipe, the ways to vary it, and the terms that hold for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from tenfold.errors import Problem, RecipeError, TenfoldError, UserError, nearest
from tenfold.recipe import Recipe, load_recipe, parse_recipe
from tenfold.recipe.load import read_tree
from tenfold.recipe.problems import explained
from tenfold.recipe.section import Section
from tenfold.recipe.sections import Name, written_out
from tenfold.techniques.technique import BUILTIN, find_technique

TUNERS: Mapping[str, str] = {
    "instruction": "full",
    "parameter_efficient": "lora",
    "task_specific": "full",
    "transfer": "full",
    "feature_based": "frozen",
    "adapters": "bottleneck",
    "distillation": "full",
}
"""What each technique trains by where the grid names no tuner; the others keep the recipe's own."""

UNITS = {"s": 1, "m": 60, "h": 3600}

Binds = Literal["seconds", "updates", "tokens"]


class Grid(Section):
    """A comparison as a file: every list is crossed with every other one."""

    recipe: Name
    """The recipe that gives rows, model and evaluation, and what the grid leaves open; from the grid's folder."""
    techniques: tuple[Name, ...] = tuple(BUILTIN)
    tuners: tuple[str | dict[str, Any], ...] = ()
    """Tuners, as a recipe names them; when empty, each technique's usual one."""
    models: tuple[Name, ...] = ()
    """Models; when empty, the recipe's."""
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Settings of a technique by its name, such as a teacher for distillation."""
    recipes: dict[str, Name] = Field(default_factory=dict)
    """Ways with a recipe of their own, from the grid's folder, by their names; a technique's name takes its place.

    Tasks that have the names of the comparison's get its rows; so `main` is what all are judged by, where it has one.
    """
    rates: tuple[Annotated[float, Field(gt=0.0)], ...] = (0.3, 1.0, 3.0)
    """Learning rates to search, as multiples of the one that the recipe or the tuner would take."""
    slice_by: Name | None = None
    """A column of the rows, such as their language or source, by whose values the report scores too."""
    seeds: Annotated[int, Field(ge=1, le=100)] = 3
    prune: bool = True
    """Give one seed, not all, to what the search has shown clearly behind, at most to the worse half."""
    budget: float | None = None
    """Seconds that all of it may take, searches and scoring included (`30m` and `2h` may be written)."""
    per_run: Annotated[float, Field(gt=0.0)] | None = None
    """In place of a budget: so many of what `binds`, for each run."""
    binds: Binds = "seconds"
    """What is equal for all: seconds of training, updates, or tokens."""

    @property
    def own_recipes(self) -> dict[str, str]:
        """The ways with a recipe of their own, but for techniques that are not asked for."""
        return {name: file for name, file in self.recipes.items() if name in self.techniques or name not in BUILTIN}

    @field_validator("techniques", "rates")
    @classmethod
    def _each_once(cls, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(given))

    @field_validator("budget", mode="before")
    @classmethod
    def _in_seconds(cls, budget: object) -> object:
        return seconds_of(budget) if isinstance(budget, str) else budget


def seconds_of(text: str) -> float:
    """Return `90`, `90s`, `30m` or `1.5h` in seconds; raises `ValueError`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if not found:
        raise ValueError(f"{text!r} is no length of time: write 90s, 30m or 2h")
    return float(found[1]) * UNITS[found[2] or "s"]


def with_options(grid: Grid, asked: Mapping[str, object]) -> Grid:
    """Return `grid` with what the command line asks for: text in which commas part the members of a list.

    Raises:
        RecipeError: a value is out of range.
    """
    changes = {name: value for name, value in asked.items() if value is not None}
    for name in ("techniques", "rates"):
        if isinstance(value := changes.get(name), str):
            changes[name] = [part.strip() for part in value.split(",")]
    if changes.get("techniques") == ["all"]:
        changes["techniques"] = list(BUILTIN)
    with explained(Grid):
        return Grid(**{**grid.model_dump(), **changes})


@dataclass(frozen=True)
class Entrant:
    """One way to fine-tune: its name in the comparison, and its recipe but for budget, seed and rate."""

    name: str
    recipe: Recipe


@dataclass(frozen=True)
class Entrants:
    """Those whose recipes can be written down at all, and why the others cannot."""

    recipes: tuple[Entrant, ...]
    refused: Mapping[str, str]


def load_grid(path: Path) -> tuple[Grid, Recipe]:
    """Return the grid in the file `path` with its recipe; a recipe by itself is the grid of all techniques.

    Raises:
        RecipeError: it cannot be read, or names something that is not there.
    """
    tree = read_tree(path)
    if "recipe" in tree:
        with explained(Grid):
            grid = Grid(**tree)
        own = {name: str(path.parent / file) for name, file in grid.recipes.items()}
        return grid.model_copy(update={"recipes": own}), load_recipe(path.parent / grid.recipe)
    return Grid(recipe=path.name), load_recipe(path)


def entrants_of(grid: Grid, base: Recipe) -> Entrants:
    """Return every combination that `grid` asks for, with the settings of `base` where it says nothing.

    Raises:
        RecipeError: it names a technique or a tuner that is not there, or a setting that a tuner does not have.
    """
    _require_known(grid, base)
    recipes, refused = [], {}
    for name, tree in _trees(grid, base):
        try:
            recipes.append(Entrant(name, parse_recipe(tree)))
        except UserError as error:
            refused[name] = reason(error)
    recipes += [_own(name, Path(file), base) for name, file in grid.own_recipes.items()]
    _require_apart([entrant.name for entrant in recipes])
    return Entrants(tuple(recipes), refused)


def _own(name: str, path: Path, base: Recipe) -> Entrant:
    """Return the way with a recipe of its own.

    Raises:
        RecipeError: it cannot be read, has none of the comparison's tasks, or is of another technique than it says.
    """
    recipe, where = load_recipe(path), f"recipes.{name}"
    if name in BUILTIN and recipe.technique.kind != name:
        found = f"{path} is a recipe of {recipe.technique.kind}"
        raise RecipeError(Problem(where, found, remedy="give it the name of its technique, or a name of your own"))
    missing = [task for task in base.tasks if task not in recipe.tasks]
    if missing:
        found = f"{path} has no task {missing[0]!r}, by which all are judged"
        raise RecipeError(Problem(where, found, remedy=f"name one of its tasks {missing[0]} under data.tasks"))
    # its further tasks are split as the comparison's are
    runtime = recipe.runtime.model_copy(update={"seed": base.runtime.seed})
    return Entrant(name, recipe.model_copy(update={"runtime": runtime}))


def _require_apart(names: Sequence[str]) -> None:
    """Raise where two ways would have one name, or one file."""
    met: dict[str, str] = {}
    for name in names:
        if slug(name) in met:
            if name == met[slug(name)]:
                remedy = "name each of techniques, tuners, models and recipes once"
                raise RecipeError(Problem("", f"the grid names {name!r} twice", remedy=remedy))
            found = f"{name!r} and {met[slug(name)]!r} are too much alike for two ways to be told apart"
            raise RecipeError(Problem("recipes", found, remedy="call one of them otherwise"))
        met[slug(name)] = name


def slug(name: str) -> str:
    """Return `name` as a file may be called."""
    return "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in name.replace(" ", "_"))


def _require_known(grid: Grid, base: Recipe) -> None:
    """Raise for what no rows and no model could make apply: it is misspelt."""
    for technique in grid.techniques:
        find_technique(technique)
    for tuner in grid.tuners:
        parse_recipe({**base.model_dump(mode="json"), "tuner": _written(tuner)})
    known = dict.fromkeys((*grid.techniques, *BUILTIN))
    unknown = [name for name in grid.options if name not in known]
    if unknown:
        remedy = nearest(unknown[0], known)
        raise RecipeError(Problem(f"options.{unknown[0]}", "no such technique", ", ".join(known), remedy))


def reason(error: TenfoldError) -> str:
    """Return in one line what an error says."""
    return "; ".join(
        f"{problem.where}: {problem.found}" if problem.where else problem.found for problem in error.problems
    )


def _trees(grid: Grid, base: Recipe) -> Iterator[tuple[str, dict[str, Any]]]:
    settings = base.model_dump(mode="json")
    for technique in (name for name in grid.techniques if name not in grid.own_recipes):
        own = _alone(technique, settings["technique"] if technique == base.technique.kind else {"kind": technique})
        usual = base.tuner.kind if technique == base.technique.kind else TUNERS.get(technique, base.tuner.kind)
        is_crossed = bool(grid.tuners) and usual != "frozen"  # where nothing of the model trains, there is one way
        for tuner in grid.tuners if is_crossed else (usual,):
            for model in grid.models or (base.model.name,):
                told = [_told(tuner, grid.tuners)] if is_crossed else []
                shown = [technique, *told, *([f"on {model}"] if grid.models else [])]
                yield (
                    " ".join(shown),
                    {
                        **settings,
                        "technique": {**own, **grid.options.get(technique, {})},
                        "tuner": settings["tuner"] if tuner == base.tuner.kind else _written(tuner),
                        "model": settings["model"] if model == base.model.name else {"name": model},
                    },
                )


def _alone(technique: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a technique's section without what it trains only to be compared with: a comparison has rivals enough."""
    fields = find_technique(technique).options.model_fields
    rivals = {name: False for name, field in fields.items() if name.startswith("compare") and field.annotation is bool}
    return {**own, **rivals, **({"curve": ()} if "curve" in fields else {})}


def _told(tuner: str | Mapping[str, Any], among: Sequence[str | Mapping[str, Any]]) -> str:
    """Return the tuner's kind; where others of `among` are of it too, with its settings."""
    if sum(_kind(each) == _kind(tuner) for each in among) == 1 or isinstance(tuner, str):
        return _kind(tuner)
    return ", ".join([_kind(tuner), *(f"{name} {value}" for name, value in tuner.items() if name != "kind")])


def _kind(tuner: str | Mapping[str, Any]) -> str:
    return tuner if isinstance(tuner, str) else str(tuner.get("kind"))


def _written(tuner: str | Mapping[str, Any]) -> Any:
    return written_out({"tuner": tuner})["tuner"]
