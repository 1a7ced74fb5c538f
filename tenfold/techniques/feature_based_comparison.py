"""Features against fine-tuning: the same model and rows, scored on the same; all training rows, and a few a class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tenfold.data.prepare import Prepared
from tenfold.features.choose import best_of, make_folds
from tenfold.features.extract import Extraction
from tenfold.features.fit import Choice
from tenfold.features.scoring import scoring_of
from tenfold.features.views import parts_of
from tenfold.models.layout import hidden_size
from tenfold.tasks.task import Task
from tenfold.techniques.context import Run
from tenfold.techniques.feature_based_claims import FINE_TUNING
from tenfold.techniques.feature_based_options import FeatureBasedOptions
from tenfold.techniques.feature_based_plan import groups_of, targets_of


def compare(run: Run, options: FeatureBasedOptions, task: Task) -> None:
    """Fine-tune the model on all training rows of `task`; record its score and what it took."""
    name = FINE_TUNING if len(run.tasks) == 1 else f"{FINE_TUNING}_{task.name}"
    other = _fine_tuned(run, options, task, rows=task.train, name=name, updates=None)
    run.take_over(other)
    timed(run, task, {FINE_TUNING: other.results[-1].seconds})


def timed(run: Run, task: Task, seconds: Mapping[str, float]) -> None:
    """Note the seconds that each part took."""
    name = f"seconds of {task.name}"
    known = run.reported.get(name)
    rounded = {part: round(value, 3) for part, value in seconds.items()}
    run.report(name, {**(known if isinstance(known, dict) else {}), **rounded})


def draw_curve(run: Run, options: FeatureBasedOptions, task: Task, choice: Choice, extraction: Extraction) -> None:
    """Score features, and with `compare` fine-tuning, at each number of rows a class, once a seed."""
    for num_rows in options.curve:
        drawn = [_drawn(choice, num_rows, seed) for seed in options.curve_seeds]
        values = [_from_features(task, choice, extraction, places, options.folds) for places in drawn]
        point = {"features": values}
        if options.compare:
            point[FINE_TUNING] = tuned = []
            for seed, places in zip(options.curve_seeds, drawn, strict=True):
                rows, name = task.train.select(places), f"{FINE_TUNING}_{task.name}_{num_rows}_{seed}"
                other = _fine_tuned(run, options, task, rows=rows, name=name, updates=options.curve_updates)
                score = other.scorecard.score(name, task.name)
                assert score is not None, "there are test rows"
                tuned.append(score.measures[choice.metric].value)
        run.report(f"{choice.metric} of {task.name}, {num_rows} rows a class", point)


def _fine_tuned(
    run: Run, options: FeatureBasedOptions, task: Task, *, rows: Prepared, name: str, updates: int | None
) -> Run:
    """Return the run of the model fine-tuned on `rows`, scored on the test rows."""
    tuner = options.compare_tuner
    rate = options.compare_learning_rate or tuner.usual_rate(hidden_size(run.model.base))
    recipe = run.recipe.model_copy(
        update={
            "tuner": tuner,
            "optim": run.recipe.optim.model_copy(update={"learning_rate": rate}),
            "evaluation": run.recipe.evaluation.model_copy(update={"retention": False}),
        }
    )
    folder = run.folder / "checkpoints" / "compared"
    world = replace(run.world, recipe=recipe, tasks={task.name: task})
    other = Run(world, folder=folder, runtime=run.runtime, log=run.log, stop_asked=run.stop_asked)
    windows = replace(task.windows, prepared=rows)
    optim = recipe.optim
    total = windows.total_updates(optim.epochs, optim.max_updates) if updates is None else updates
    other.train(replace(other.stage(name, task), windows=windows, total_updates=total))
    other.score(name)
    return other


def _drawn(choice: Choice, num_rows: int, seed: int) -> list[int]:
    """Return the places of at most `num_rows` training rows of each class, drawn by `seed`."""
    generator = np.random.default_rng([seed, num_rows])
    values = choice.targets.values
    every = [np.flatnonzero(values == number) for number in range(choice.targets.num_outputs)]
    return sorted(int(place) for places in every for place in generator.permutation(places)[:num_rows])


def _from_features(task: Task, choice: Choice, extraction: Extraction, places: list[int], folds: int) -> float:
    """Return the score on the test rows of the best candidate, chosen and fitted on the rows at `places` alone."""
    taken = np.array(places)
    targets, groups = choice.targets.take(taken), groups_of(task)[taken]
    smallest = int(np.bincount(targets.values)[np.unique(targets.values)].min())
    count = max(2, min(folds, smallest))
    few = replace(
        choice, targets=targets, folds=make_folds(targets, groups, count=count, seed=choice.seed), seed=choice.seed
    )
    assert task.test is not None
    features = extraction.of(choice.prepared, parts_of(choice.views)).take(places)
    best = best_of(few.tried(features, heard=lambda candidate: None))
    reader, _ = few.fitted(best, features)
    judged = task.test.select([item.row for item in task.items])
    rows = extraction.of(judged, best.view.parts).matrix(best.view)
    answered = reader.logits(rows).argmax(axis=1)
    return scoring_of(choice.metric, "class")(targets_of(judged, task).values, answered)
