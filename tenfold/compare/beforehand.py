"""What had to be trained before a way could begin? The run that teaches it, which no comparison's budget pays for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tenfold.artifact import Artifact
from tenfold.data.seen import count_taught
from tenfold.data.splits import open_splits
from tenfold.errors import ArtifactError
from tenfold.models.published import is_published
from tenfold.recipe import Recipe

TEACHER = "teacher"
"""The option by which a technique names a run to learn from."""


@dataclass(frozen=True)
class Beforehand:
    """A run that was finished before a recipe could begin."""

    folder: Path
    seconds: float | None
    """What its training took, with that of its own teacher; None where this is not known any more."""


def beforehand(recipe: Recipe) -> Beforehand | None:
    """Return the run that `recipe` learns from; None where it needs none, or a model as it was published."""
    return _beforehand(recipe, ())


def _beforehand(recipe: Recipe, after: Collection[Path]) -> Beforehand | None:
    name = recipe.technique.options.get(TEACHER)
    if not isinstance(name, str):
        return None
    folder = Path(name).expanduser()
    if not (folder / "artifact.json").is_file():
        return None if is_published(name) else Beforehand(folder, None)
    place = folder.resolve()
    if place in after:  # a run that was made again in the folder of its teacher
        return Beforehand(folder, None)
    try:
        run = Artifact.open(folder)
        own, earlier = run.cost.train_seconds, _beforehand(run.recipe, (*after, place))
    except ArtifactError:
        return Beforehand(folder, None)
    if earlier is None:
        return Beforehand(folder, own)
    return Beforehand(folder, None if earlier.seconds is None else own + earlier.seconds)


@dataclass(frozen=True)
class Taught:
    """How many of a recipe's test rows its teacher has trained on; of all `num_rows`."""

    num_seen: int | None
    """Without those whose prompts are among the recipe's own training rows; None where the teacher keeps no keys."""
    num_rows: int


def taught_rows(recipe: Recipe, teacher: Beforehand) -> Taught:
    """Return what `teacher` has seen of the test rows of `recipe`, by their prompts.

    Raises:
        DataError: rows that cannot be read.
    """
    seen: list[int | None] = []
    num_rows = 0
    for data in recipe.tasks.values():
        splits = open_splits(data, seed=recipe.runtime.seed, with_validation=False)
        if splits.test is not None:
            seen.append(count_taught(teacher.folder, splits.test, but=splits.train, train_on=data.train_on))
            num_rows += len(splits.test)
    known = [count for count in seen if count is not None]
    return Taught(sum(known) if len(known) == len(seen) else None, num_rows)


def seen_in_advance(recipe: Recipe) -> str:
    """Return why the teacher of `recipe` makes its score worth nothing; empty where it does not."""
    teacher = beforehand(recipe)
    if teacher is None:
        return ""
    taught = taught_rows(recipe, teacher)
    if not taught.num_seen:
        return ""
    rows = " and ".join(str(data.train) for data in recipe.tasks.values())
    found = f"its teacher {teacher.folder} has trained on {taught.num_seen:,} of {taught.num_rows:,} test rows"
    return f"{found}; train it on the comparison's own training rows, {rows}"
