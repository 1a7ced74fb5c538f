"""What a recipe of stages cannot be, found before anything is opened."""

from __future__ import annotations

from collections.abc import Iterator

from tenfold.errors import Problem, nearest
from tenfold.evaluation.scorecard import BEFORE
from tenfold.recipe import Recipe
from tenfold.recipe.optim import mixing_problems
from tenfold.recipe.tuner_settings import TunerSettings
from tenfold.recipe.tuners import Qlora
from tenfold.techniques.sequential_options import SequentialOptions


def check(recipe: Recipe, options: SequentialOptions) -> list[Problem]:
    """Return what does not fit: unknown tasks, names given twice, two budgets, idle cures, tuners that cannot join."""
    if not options.stages:
        remedy = "name a task in each: stages: [{task: general}, {task: specific}]"
        return [Problem("technique.stages", "no stage is named", allowed=", ".join(recipe.tasks), remedy=remedy)]
    replayed = mixing_problems(recipe.optim, "of several tasks (technique.replay)") if options.replay else []
    return [*_names(recipe, options), *_cures(options), *_tuners(recipe, options), *replayed]


def tuners_of(recipe: Recipe, options: SequentialOptions) -> list[TunerSettings]:
    """Return what each stage trains: the recipe's tuner, until a stage brings another."""
    found: list[TunerSettings] = []
    for stage in options.stages:
        found.append(stage.tuner or (found[-1] if found else recipe.tuner))
    return found


def _names(recipe: Recipe, options: SequentialOptions) -> Iterator[Problem]:
    tasks, names = recipe.tasks, [stage.stage_name for stage in options.stages]
    for place, stage in enumerate(options.stages):
        where = f"technique.stages.{place}"
        if stage.task not in tasks:
            yield Problem(f"{where}.task", f"no task {stage.task!r}", ", ".join(tasks), nearest(stage.task, tasks))
        if stage.updates is not None and stage.epochs is not None:
            found = f"has two budgets, updates {stage.updates} and epochs {stage.epochs:g}"
            yield Problem(where, found, remedy="remove one of them")
        name = stage.stage_name
        if names.index(name) < place:
            found = f"stage {names.index(name)} is called {name!r} too"
            yield Problem(where, found, remedy="give one of them a name of its own: name: ANOTHER")
        if name == BEFORE:
            remedy = "give the stage another name: name: ANOTHER"
            yield Problem(where, f"{BEFORE!r} is what the model as it came is called", remedy=remedy)


def _cures(options: SequentialOptions) -> Iterator[Problem]:
    if len(options.stages) == 1:
        for cure in options.cures:
            remedy = "add a stage, or remove it"
            yield Problem(f"technique.{cure}", "there is no earlier stage whose task it could keep", remedy=remedy)
        if options.compare_straight:
            found = "the only stage goes straight to its task already"
            yield Problem("technique.compare_straight", found, remedy="add a stage, or remove it")
    if options.compare_cures and not options.cures:
        remedy = "set replay, ewc, l2_sp or self_distillation"
        yield Problem("technique.compare_cures", "there is no cure to compare", remedy=remedy)


def _tuners(recipe: Recipe, options: SequentialOptions) -> Iterator[Problem]:
    from tenfold.tuning.merging import can_merge  # brings torch and peft along

    tuners = tuners_of(recipe, options)
    if options.stages[0].tuner not in (None, recipe.tuner):
        remedy = "write it as the recipe's own `tuner:`; the base model is loaded as that needs it"
        yield Problem("technique.stages.0.tuner", "the first stage has a tuner of its own", remedy=remedy)
    for place in range(1, len(tuners)):
        before, now = tuners[place - 1], tuners[place]
        where = f"technique.stages.{place}.tuner"
        if now == before:
            continue
        if options.ewc > 0:
            found = "ewc holds the parameters of earlier stages, and this tuner trains others"
            yield Problem(where, found, remedy="keep one tuner for all stages, or choose another cure")
        if not can_merge(before):
            found = f"what the tuner before ({getattr(before, 'kind', '')}) trains cannot be merged into the base"
            yield Problem(where, found, remedy="keep that tuner for all stages, or begin with one such as lora")
        if isinstance(now, Qlora):
            found = "qlora holds the base in 4 bits from the first stage on, and this is a later one"
            yield Problem(where, found, remedy="use lora here, or qlora as the recipe's own `tuner:`")
    if options.compare_straight and isinstance(tuners[0], Qlora) and tuners[-1] != tuners[0]:
        found = "the last stage's tuner cannot start from the 4-bit base model"
        yield Problem("technique.compare_straight", found, remedy="keep one tuner for all stages, or remove it")
