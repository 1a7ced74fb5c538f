"""What feature-based transfer will do with each task of a run, and what its rows or its model do not allow."""

from __future__ import annotations

import numpy as np

from tenfold.data.prepare import Prepared
from tenfold.data.splits import group_keys
from tenfold.data.windows import MICRO_BATCH_TOKENS
from tenfold.engine.runtime import derived_seed
from tenfold.engine.store import fingerprint
from tenfold.errors import DataError, Problem, RecipeError
from tenfold.features.choose import Targets, make_folds
from tenfold.features.estimators import Form, form_problems
from tenfold.features.extract import Extraction
from tenfold.features.fit import Choice
from tenfold.features.views import settled
from tenfold.models.architecture import num_layers
from tenfold.tasks.task import Task
from tenfold.techniques.context import Run
from tenfold.techniques.feature_based_options import FeatureBasedOptions
from tenfold.techniques.world import World

FORMS: dict[str, Form] = {"class": "class", "classes": "classes", "value": "value"}
"""The forms of labels that one estimator learns for a row."""


def plans(world: World, options: FeatureBasedOptions) -> list[tuple[Task, Choice]]:
    """Return each task with what is tried for it.

    Raises:
        DataError: rows without a label of their own, too few groups of them for the folds, or no classes for a curve.
        RecipeError: an estimator that cannot learn such labels.
        ModelError: a layer that the model does not have.
    """
    recipe = world.recipe
    views = settled(options.views, num_layers(world.files.folder, trust_remote_code=recipe.model.trust_remote_code))
    planned = []
    for task in world.tasks.values():
        targets = targets_of(task.train, task)
        if options.curve and (targets.form != "class" or not task.items):
            found = "rows are of no classes" if task.items else "there are no test rows to score on"
            raise DataError(Problem("technique.curve", found, remedy="remove it"))
        problems = [
            problem
            for number, wish in enumerate(options.wishes)
            for problem in form_problems(
                wish, f"technique.estimators.{number}", targets.form, num_outputs=targets.num_outputs
            )
        ]
        if problems:
            raise RecipeError(*problems)
        seed = derived_seed(recipe.runtime.seed, "features", task.name)
        choice = Choice(
            prepared=task.train,
            targets=targets,
            wishes=options.wishes,
            views=views,
            folds=make_folds(targets, groups_of(task), count=options.folds, seed=seed),
            metric=task.data.metrics[0],
            standardise=options.standardise,
            seed=seed,
        )
        planned.append((task, choice))
    return planned


def targets_of(prepared: Prepared, task: Task) -> Targets:
    """Return the labels of a table's rows as numbers.

    Raises:
        DataError: its rows have none, or labels of words and answers.
    """
    form = FORMS.get(str(prepared.form))
    head = task.kind.head
    if form is None or head is None:
        found = f"rows of format {prepared.rows.format} have no label for a whole row"
        allowed = "classification, multi_label or regression"
        raise DataError(Problem("data", found, allowed, "choose another technique, or rows with labels"))
    labels = prepared.table.with_format("numpy")["labels"][:]
    values = np.stack([np.asarray(each, dtype=np.float64) for each in labels])
    if form == "classes":
        return Targets(form, values.astype(np.int64), head.num_outputs)
    return Targets(form, values[:, 0].astype(np.int64) if form == "class" else values[:, 0], head.num_outputs)


def groups_of(task: Task) -> np.ndarray:
    """Return the group of each training row as splits have it: its prompt, or `data.group_by`."""
    keys = group_keys(task.train.rows, task.data)
    groups: np.ndarray = keys[task.train.column("source")]
    return groups


def extraction_of(run: Run) -> Extraction:
    """Return what reads features of the run's model, which is loaded when something must be read."""
    computed = [run.runtime.device.type, str(run.runtime.compute_dtype)]
    return Extraction(
        model=lambda: run.model,
        identity=fingerprint("base", run.world.identity.sha256, *computed),
        batch_tokens=run.recipe.runtime.micro_batch_tokens or MICRO_BATCH_TOKENS,
        log=run.log,
        stop_asked=run.stop_asked,
    )
