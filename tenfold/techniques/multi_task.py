"""Multi-task fine-tuning: one model learns all tasks at once.

Idea: train on a mixture of all tasks' rows; what they share is learned once, and one model serves them all.
Source: Caruana 1997, "Multitask Learning"; the mixture, Raffel et al. 2020, "T5" (arXiv 1910.10683), section 3.5.2;
tasks weighted by what the loss learns, Kendall et al. 2018 (arXiv 1705.07115).
When: several related tasks, some with few rows, and one model to keep and serve in place of one a task.
Costs: one stage over the rows of all tasks; with `compare_alone` as much again, for a model a task to compare with.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tenfold.errors import Problem, nearest
from tenfold.recipe import Recipe
from tenfold.recipe.optim import mixing_problems
from tenfold.techniques.claims import keeps_general_text
from tenfold.techniques.multi_task_claims import no_task_loses, no_worse_on_average, one_model_for_all
from tenfold.techniques.technique import Options, Plan, Technique

if TYPE_CHECKING:
    from tenfold.engine.stage import Learned, Stage, StageResult
    from tenfold.objectives.mixed import MixedObjective
    from tenfold.techniques.context import Run


class MultiTaskOptions(Options):
    """Settings of multi-task tuning."""

    temperature: float = Field(default=2.0, gt=0.0, le=1000.0)
    """Tasks are met in proportion to rows ** (1 / temperature). 2 was the best of T5's (table 11); 1 is by size."""
    max_examples: int = Field(default=2**21, ge=1)
    """A task with more rows counts as this many (T5's, with temperature)."""
    weighting: Literal["fixed", "uncertainty"] = "fixed"
    """`uncertainty` lets the loss learn how much each task counts (Kendall et al. 2018)."""
    weights: dict[str, Annotated[float, Field(gt=0.0)]] = Field(default_factory=dict)
    """With `fixed`: how much a task's loss counts; 1 where it is not named."""
    uncertainty_learning_rate: float = Field(default=1e-2, gt=0.0, le=1.0)
    """Rate of the learned weights. An update moves a log-variance by about that much, and it has about 1 to go."""
    compare_alone: bool = False
    """Also train a model for each task alone, on as many rows as it has in the mixture: twice the training in all."""


def plan(run: Run, options: MultiTaskOptions) -> Plan:
    """Return the stages: a model for each task alone where it is asked for, and the mixture last."""
    from tenfold.data.mixture import Mixture, apportioned, temperature_shares
    from tenfold.evaluation.scorecard import BEFORE

    tasks, recipe = run.tasks, run.recipe
    sizes = [len(task.train) for task in tasks]
    shares = temperature_shares(sizes, temperature=options.temperature, max_examples=options.max_examples)
    rows = apportioned(sum(min(size, options.max_examples) for size in sizes), shares)
    mixture = Mixture(
        tuple(task.windows for task in tasks), rows, batch_size=recipe.optim.batch_size, seed=run.runtime.seed
    )
    objective, learned = _objective(run, options)
    mixed = replace(
        run.stage("multi_task"),
        objective=objective,
        learned=learned,
        windows=mixture,
        total_updates=mixture.total_updates(recipe.optim.epochs, recipe.optim.max_updates),
        selection=run.selection(tasks),
        tasks=tuple(task.name for task in tasks),
        starts_from=BEFORE,
    )
    met = ", ".join(f"{task.name} {share:.0%}" for task, share in zip(tasks, shares, strict=True))
    notes = [f"of the rows met: {met}"]
    alone: tuple[Stage, ...] = ()
    if options.compare_alone:
        updates = apportioned(mixed.total_updates, shares)
        alone = tuple(
            replace(run.stage(f"{task.name}@alone", task), total_updates=max(1, number), starts_from=BEFORE)
            for task, number in zip(tasks, updates, strict=True)
        )
        total = sum(stage.total_updates for stage in alone)
        notes.append(f"compare_alone trains {len(alone)} more models, {total} updates and {len(alone)} scorings more")
    return Plan((*alone, mixed), tuple(notes))


def _objective(run: Run, options: MultiTaskOptions) -> tuple[MixedObjective, Learned | None]:
    import torch

    from tenfold.engine.stage import Learned
    from tenfold.objectives.mixed import MixedObjective, TaskLoss, units_per_row

    losses = {}
    for task in run.tasks:
        objective = task.objective(run.recipe)
        weight = options.weights.get(task.name, 1.0)
        losses[task.name] = TaskLoss(objective, units_per_row(objective, task.windows), weight)
    if options.weighting == "fixed":
        return MixedObjective(losses), None
    variances = {name: torch.nn.Parameter(torch.zeros((), device=run.runtime.device)) for name in losses}
    return MixedObjective(losses, variances), Learned(variances, options.uncertainty_learning_rate)


def multi_task(run: Run, options: MultiTaskOptions) -> Generator[Stage, StageResult, None]:
    """Yield the stages of the plan, and tell how much each task counted in the end."""
    from tenfold.data.mixture import Mixture
    from tenfold.objectives.mixed import MixedObjective

    stages = plan(run, options).stages
    for stage in stages:  # noqa: UP028 - a tuple cannot be sent results, as `yield from` would
        yield stage
    windows, objective = stages[-1].windows, stages[-1].objective
    assert isinstance(windows, Mixture) and isinstance(objective, MixedObjective)
    rows = dict(zip(stages[-1].tasks, windows.rows_per_epoch, strict=True))
    run.report("share of the rows", {name: round(number / sum(rows.values()), 3) for name, number in rows.items()})
    weights = objective.effective_weights()
    run.report("weight of a task's loss", {name: round(weight, 3) for name, weight in weights.items()})


def check(recipe: Recipe, options: MultiTaskOptions) -> list[Problem]:
    """Return a problem if there are not several tasks, or weights that are for none or for nothing."""
    problems = mixing_problems(recipe.optim, "of several tasks")
    if len(recipe.tasks) < 2:
        remedy = "name them under data.tasks: {summaries: FILE, commands: FILE}, or set technique.kind: instruction"
        problems.append(Problem("data.tasks", "multi_task learns several tasks, and there is one", remedy=remedy))
    for name in options.weights:
        if name not in recipe.tasks:
            known = ", ".join(recipe.tasks)
            problems.append(
                Problem(f"technique.weights.{name}", f"no task {name!r}", known, nearest(name, recipe.tasks))
            )
    if options.weights and options.weighting == "uncertainty":
        remedy = "remove weights, or set technique.weighting: fixed"
        problems.append(Problem("technique.weights", "with weighting: uncertainty they are learned", remedy=remedy))
    return problems


TECHNIQUE = Technique(
    kind="multi_task",
    summary="one model learns all tasks of data.tasks at once, from a mixture of their rows",
    when="several related tasks, some with few rows, and one model to serve in place of one a task",
    stages=multi_task,
    options=MultiTaskOptions,
    check=check,
    plan=plan,
    shards=True,
    claims=(
        one_model_for_all(source="Caruana 1997, Machine Learning 28, section 1; Raffel et al. 2020, arXiv 1910.10683"),
        no_worse_on_average(source="Caruana 1997, Machine Learning 28"),
        no_task_loses(source="Caruana 1997, Machine Learning 28; Raffel et al. 2020, arXiv 1910.10683, table 11"),
        keeps_general_text(source="Raffel et al. 2020, arXiv 1910.10683, section 3.5.2, mixes tasks to keep them all"),
    ),
)
