"""Before anything is trained: which ways apply to these rows and this model, and what each may spend."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tenfold.compare.beforehand import seen_in_advance
from tenfold.compare.grid import Binds, Entrant, Grid, reason
from tenfold.engine.log import Log
from tenfold.engine.runtime import open_runtime
from tenfold.errors import Problem, RecipeError, TenfoldError
from tenfold.evaluation.retention import RetentionSet
from tenfold.evaluation.scorecard import quantity_of
from tenfold.garbage import only_new_garbage
from tenfold.models.language_model import LanguageModel
from tenfold.recipe import Recipe
from tenfold.tasks.task import Task
from tenfold.techniques.context import Run
from tenfold.techniques.opened import open_recipe
from tenfold.techniques.trial import Trial, try_reading, try_retention, try_scoring, try_updates
from tenfold.techniques.world import World

SEARCH_SHARE = 0.25
"""Part of a run's budget that each learning rate of the search is given."""

STARTUP_SECONDS = 8.0
"""What a run takes to begin and to save, beside training and scoring: imports, model, files."""


@dataclass(frozen=True)
class Pace:
    """What an entrant takes, as measured on a few of its rows."""

    scoring_seconds: float
    usual_rate: float
    """The learning rate of its recipe, where that names none the tuner's for such a model; 0 where nothing trains."""
    reading_seconds: float = 0.0
    num_stages: int = 0
    """None where nothing trains."""
    own_updates: int = 0
    """What `optim.epochs` of the rows come to."""
    seconds_per_update: float = 0.0
    tokens_per_update: float = 0.0
    retention_seconds: float = 0.0
    """Of scoring what is kept of general text: once a whole run, and of row 0."""
    comparing_seconds: float = 0.0
    """Of scoring what a whole run compares itself with, such as the model shown examples."""

    @property
    def trains(self) -> bool:
        """Whether there are updates at all."""
        return self.num_stages > 0


@dataclass(frozen=True)
class Examined:
    """The entrants that apply, with their pace, and why the others do not."""

    paces: Mapping[str, Pace]
    refused: Mapping[str, str]


@only_new_garbage()
def examine(entrants: Sequence[Entrant], ranked_by: Sequence[str]) -> Examined:
    """Try each entrant on a few rows: is it refused, and how fast is it?

    Those whose test rows of the tasks `ranked_by` are not those of the first one that applies, or are scored by another
    metric, are refused too: such scores cannot be compared. Of two that would train alike the first is kept; but labels
    are learned by task-specific tuning, not under the name of instruction tuning.
    """
    paces: dict[str, Pace] = {}
    refused: dict[str, str] = {}
    first: tuple[str, Asked] | None = None
    trained: dict[str, Entrant] = {}
    for entrant in entrants:
        try:
            tried = _tried(entrant.recipe, ranked_by)
        except TenfoldError as error:
            refused[entrant.name] = NO_TEACHER if _lacks_teacher(entrant.recipe, error) else reason(error)
            continue
        finally:
            gc.collect()
        if told := seen_in_advance(entrant.recipe):
            refused[entrant.name] = told
            continue
        first = (entrant.name, tried.asked) if first is None else first
        if tried.asked != first[1]:
            refused[entrant.name] = _apart(tried.asked, first[1], first[0])
            continue
        known = trained.get(tried.training) if tried.training else None
        if known is None or (tried.has_labels and _kinds(known, entrant) == ("instruction", "task_specific")):
            trained[tried.training] = entrant
            paces[entrant.name] = tried.pace
        if known is not None:
            kept = trained[tried.training]
            dropped = known if kept is entrant else entrant
            paces.pop(dropped.name, None)
            refused[dropped.name] = f"on these rows it trains just as {kept.name} does"
    return Examined({each.name: paces[each.name] for each in entrants if each.name in paces}, refused)


def _kinds(*entrants: Entrant) -> tuple[str, ...]:
    return tuple(entrant.recipe.technique.kind for entrant in entrants)


NO_TEACHER = (
    "it needs a teacher, such as a larger model's run on these rows; a grid file names its folder: "
    "options: {distillation: {teacher: FOLDER}}"
)


def _lacks_teacher(recipe: Recipe, error: TenfoldError) -> bool:
    """Whether `error` is about a teacher that nobody has named: the default of a recipe."""
    if recipe.technique.kind != "distillation" or "teacher" in recipe.technique.options:
        return False
    return any(problem.where in ("technique.teacher", "technique.level") for problem in error.problems)


Asked = tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
"""For each task by which is ranked: what is measured, and the prompt and reference of each row, sorted."""


def _asked(tasks: Sequence[Task], ranked_by: Sequence[str]) -> Asked:
    """Return what the tasks `ranked_by` ask; of tasks with other names all together, as `judged` takes them."""
    found = {
        task.name: (_quantity(task), tuple(sorted((each.prompt, each.reference) for each in task.items)))
        for task in tasks
        if task.items
    }
    if all(name in found for name in ranked_by):
        return tuple(found[name] for name in ranked_by)
    quantities = " and ".join(dict.fromkeys(name for name, _ in found.values()))
    return ((quantities, tuple(sorted(row for _, rows in found.values() for row in rows))),)


def _quantity(task: Task) -> str:
    metric = task.data.metrics[0] if task.data.metrics else ""
    return quantity_of(metric)


def _apart(asked: Asked, first: Asked, named: str) -> str:
    """Return how what is asked differs."""
    own, known = ([name for name, _ in each] for each in (asked, first))
    if own != known:
        return f"it is scored by {', '.join(own)}, not by {', '.join(known)} as {named}"
    return f"it is scored on other rows than {named}"


@dataclass(frozen=True)
class _Tried:
    """What a few rows tell of an entrant: its pace, what its tasks ask, and all that decides its training."""

    pace: Pace
    asked: Asked
    training: str = ""
    has_labels: bool = False


def _tried(recipe: Recipe, ranked_by: Sequence[str]) -> _Tried:
    opened = open_recipe(recipe)
    technique, options, recipe, world = opened.technique, opened.options, opened.recipe, opened.world
    run = Run(world, folder=Path(recipe.output), runtime=open_runtime(recipe.runtime), log=Log(None))
    technique.begin(run, options)
    plan = technique.plan(run, options)
    stages = plan.stages
    asked = _asked(run.tasks, ranked_by)
    scoring = sum(try_scoring(run.model, task) for task in run.tasks)
    keeping = 0.0
    if not world.without_retention and isinstance(run.model, LanguageModel):
        keeping = try_retention(run.model, RetentionSet.load())
    if not stages:
        return _Tried(Pace(scoring, 0.0, _reading_seconds(run, world), retention_seconds=keeping), asked)
    contents = [{**stage.content, "name": ""} for stage in stages]
    training = json.dumps([run.state, dict(world.needs), contents], sort_keys=True, default=str)
    comparing = sum(try_scoring(run.model, world.first, score) for score in plan.compared)
    # the last stage trains the most; what came before it matters little for its pace
    trial = try_updates(run.model, run.attach(replace(stages[-1], starts_from=None)))
    pace = Pace(
        scoring,
        retention_seconds=keeping,
        num_stages=len(stages),
        own_updates=world.first.windows.total_updates(recipe.optim.epochs, recipe.optim.max_updates),
        seconds_per_update=_undisturbed(trial, run),
        tokens_per_update=trial.tokens_per_second * trial.seconds_per_update,
        usual_rate=world.recipe.optim.learning_rate or 0.0,
        comparing_seconds=comparing,
    )
    return _Tried(pace, asked, training, has_labels=all(task.kind.head is not None for task in run.tasks))


def _undisturbed(trial: Trial, run: Run) -> float:
    """Return the seconds of an update; on a CPU what other work on the machine takes from it is left out."""
    is_shared = run.runtime.device.type == "cpu"
    return trial.processor_seconds_per_update if is_shared else trial.seconds_per_update


def _reading_seconds(run: Run, world: World) -> float:
    tokens = sum(int(task.train.column("length").sum()) for task in world.tasks.values())
    return try_reading(run.model, world.first.windows).seconds_per_token * tokens


@dataclass(frozen=True)
class Allowance:
    """What each run of an entrant gets, and what all of its runs are expected to take, in seconds."""

    updates: int | None
    """Of a whole run, all stages together; None where nothing trains."""
    search_updates: int | None
    rates: tuple[float, ...]
    """Multiples of its learning rate to search; none where nothing trains, or one is all there is."""
    expected_seconds: float


def allow(grid: Grid, paces: Mapping[str, Pace]) -> dict[str, Allowance]:
    """Share the budget out: equal seconds, updates or tokens for every run, as `grid.binds` says.

    Without either every run has as many updates as the recipe's own epochs come to.

    Raises:
        RecipeError: the budget is too small for any training.
    """
    per_run = grid.per_run if grid.budget is None else _from_budget(grid, paces)
    return {name: _allowance(grid, pace, per_run) for name, pace in paces.items()}


def _cost_of_update(pace: Pace, binds: Binds) -> float:
    return {"updates": 1.0, "seconds": pace.seconds_per_update, "tokens": pace.tokens_per_update}[binds]


def _allowance(grid: Grid, pace: Pace, per_run: float | None) -> Allowance:
    if not pace.trains:
        each = STARTUP_SECONDS + pace.scoring_seconds + pace.retention_seconds
        once = pace.reading_seconds + pace.scoring_seconds + pace.retention_seconds
        return Allowance(None, None, (), once + grid.seeds * each)
    wanted = pace.own_updates if per_run is None else math.floor(per_run / _cost_of_update(pace, grid.binds))
    updates = max(wanted, pace.num_stages)
    rates = grid.rates if len(grid.rates) > 1 else ()
    search = max(pace.num_stages, math.ceil(updates * SEARCH_SHARE)) if rates else None
    trained = grid.seeds * updates + len(rates) * (search or 0)
    runs = grid.seeds + len(rates)
    return Allowance(updates, search, rates, trained * pace.seconds_per_update + _overhead(grid, pace, runs))


def _overhead(grid: Grid, pace: Pace, runs: int) -> float:
    """Return the seconds of `runs` runs that are no training: each is scored once, row 0 is remembered."""
    chosen = grid.seeds * 2 * pace.scoring_seconds  # twice a run its checkpoints are judged on validation rows
    before = 2 * pace.scoring_seconds + pace.retention_seconds  # of validation rows in the search, then of test rows
    besides = pace.retention_seconds + pace.comparing_seconds
    return runs * (STARTUP_SECONDS + pace.scoring_seconds) + before + chosen + grid.seeds * besides


def _from_budget(grid: Grid, paces: Mapping[str, Pace]) -> float:
    """Return what each run may have of what binds, so that all of them together keep to the budget."""
    assert grid.budget is not None
    rates = len(grid.rates) if len(grid.rates) > 1 else 0
    runs = grid.seeds + rates * SEARCH_SHARE
    fixed, weight = {}, 0.0
    for name, pace in paces.items():
        if not pace.trains:
            fixed[name] = _allowance(grid, pace, None).expected_seconds
            continue
        fixed[name] = _overhead(grid, pace, grid.seeds + rates)
        weight += runs * pace.seconds_per_update / _cost_of_update(pace, grid.binds)
    left = grid.budget - sum(fixed.values())
    if weight and left <= 0:
        each = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in fixed.items())
        found = f"starting and scoring alone take about {sum(fixed.values()):.0f} s, of {grid.budget:.0f} s ({each})"
        remedy = "raise the budget, compare fewer techniques or seeds, or lower evaluation.max_rows"
        raise RecipeError(Problem("budget", found, remedy=remedy))
    return left / weight if weight else math.inf
