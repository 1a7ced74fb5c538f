"""The terms of a comparison, a sentence each: they are told before it begins and stand in its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tenfold.compare.beforehand import Beforehand, Taught
from tenfold.compare.grid import Grid
from tenfold.compare.planning import SEARCH_SHARE, Allowance
from tenfold.compare.split import Sides
from tenfold.compare.verdict import listed, plain
from tenfold.evaluation.duration import duration


def terms(
    grid: Grid,
    allowances: Mapping[str, Allowance],
    sides: Mapping[str, Sides],
    teachers: Mapping[str, tuple[Beforehand, Taught]],
) -> tuple[str, ...]:
    """Return under which terms the ways with these `allowances` are compared on the rows of `sides`, each task's.

    `teachers` are those of some ways, with what they have seen of the validation rows.
    """
    return (*_rows(sides), *_runs(grid), _budget(grid, allowances), *_teachers(teachers))


def _rows(sides: Mapping[str, Sides]) -> Iterator[str]:
    for task, each in sides.items():
        train, validation, test = each.num_rows
        of_task = f" of {plain(task)}" if len(sides) > 1 else ""
        yield f"One split for all{of_task}: {train:,} training, {validation:,} validation and {test:,} test rows."
    yield "Learning rates and checkpoints are chosen on validation rows; the table shows test rows."
    if len(sides) > 1:
        yield (
            f"{listed(list(sides))} count alike: the mean of their metrics, each moved so that chance is 0; where "
            f"they cannot be averaged, {plain(next(iter(sides)))} alone counts."
        )


def _runs(grid: Grid) -> Iterator[str]:
    seeds = "1 seed" if grid.seeds == 1 else f"{grid.seeds} seeds"
    yield f"{seeds} for each; a seed decides the order of rows and the starting values, never the split."
    if grid.own_recipes:
        verb = "has a recipe" if len(grid.own_recipes) == 1 else "have recipes"
        yield f"{listed(list(grid.own_recipes))} {verb} of their own, on the same test rows."
    if len(grid.rates) > 1:
        factors = ", ".join(f"{factor:g}" for factor in grid.rates)
        share = f"{SEARCH_SHARE:.0%}"
        yield f"Each tries {factors} times its usual learning rate with {share} of a run's updates; the best goes on."
        if grid.prune and grid.seeds > 1:
            yield "What is clearly behind after the search gets one seed; at most the worse half does."


def _budget(grid: Grid, allowances: Mapping[str, Allowance]) -> str:
    updates = {each.updates for each in allowances.values() if each.updates is not None}
    if not updates:
        return "Nothing of a model trains, so there are no updates to share out."
    if grid.budget is None and grid.per_run is None:
        return f"Every run has {', '.join(map(str, sorted(updates)))} updates: the recipe's own epochs."
    each = ", ".join(f"{name} {allowance.updates}" for name, allowance in allowances.items() if allowance.updates)
    return f"Every run has equal {grid.binds}, which are so many updates: {each}."


def _teachers(teachers: Mapping[str, tuple[Beforehand, Taught]]) -> Iterator[str]:
    for name, (teacher, taught) in teachers.items():
        if teacher.seconds is None:
            yield f"{plain(name)} needs a teacher that was trained before; its cost is not known: see {teacher.folder}."
        else:
            told = f"{plain(name)} needs a teacher that was trained before: {duration(teacher.seconds)}"
            yield f"{told}, which count as its time and are in no budget."
        if taught.num_seen is None:
            yield f"Whether the teacher of {plain(name)} has trained on rows of the comparison is not known."
        elif taught.num_seen:
            rows = f"{taught.num_seen:,} of {taught.num_rows:,} validation rows"
            yield f"The teacher of {plain(name)} has trained on {rows}, by which its rate and checkpoints are chosen."
