"""A student that answers with labels: which teacher fits its rows, and the stage that trains against its logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tenfold.errors import ModelError, Problem
from tenfold.recipe import Recipe
from tenfold.techniques.distillation_claims import STUDENT
from tenfold.techniques.distillation_options import DistillationOptions

if TYPE_CHECKING:
    from tenfold.data.label_space import LabelSpace
    from tenfold.engine.stage import Stage
    from tenfold.models.trunk import Trunk
    from tenfold.teaching.classes import Alignment, ClassTeacher
    from tenfold.teaching.student import GivenHead
    from tenfold.teaching.teacher import Teacher
    from tenfold.techniques.context import Run

OF_WORDS = ("top_k", "hidden", "on_policy")
"""Options that only a student of words reads."""

OF_CHANCES = ("temperature", "divergence", "beta")
"""Options that a student of numbers, which have no distribution, never reads."""


@dataclass(frozen=True)
class LabelLesson:
    """Who teaches the recipe's rows with labels, and how its outputs become the student's."""

    teacher: ClassTeacher
    alignment: Alignment
    task: str


def misread(options: DistillationOptions, format: str) -> list[Problem]:
    """Return a problem for each option that rows of `format`, which have labels, leave unread."""
    problems = []
    if options.level != "logits":
        found = f"level: {options.level} learns from answers in words, and rows of format {format} have labels"
        problems.append(Problem("technique.level", found, "logits", "remove it: the teacher's logits are learned"))
    unread = [*OF_WORDS, *(OF_CHANCES if format == "regression" else ())]
    for name in unread:
        if name in options.model_fields_set:
            why = "numbers have no distribution" if name in OF_CHANCES else "all labels of a row are compared"
            found = f"would be read by nothing: rows are of format {format}, and {why}"
            problems.append(Problem(f"technique.{name}", found, remedy="remove it"))
    return problems


def find_lesson(teacher: Teacher, task: str, format: str, space: LabelSpace) -> LabelLesson:
    """Return how `teacher` teaches rows of `format` with the labels of `space` to the student's `task`.

    Raises:
        ModelError: it learned other rows or other labels.
    """
    from tenfold.teaching.classes import aligned, find_class_teacher

    found = find_class_teacher(teacher, task=task, format=format)
    return LabelLesson(found, aligned(found.kind().space, space, name=teacher.name), task)


def labels_of(recipe: Recipe) -> LabelSpace:
    """Return the labels of the recipe's training rows.

    Raises:
        DataError: rows that cannot be read, or labels that nothing can be learned from.
    """
    from tenfold.data.label_space import read_labels
    from tenfold.data.splits import open_splits

    (data,) = recipe.tasks.values()
    splits = open_splits(data, seed=recipe.runtime.seed, with_validation=recipe.evaluation.every is not None)
    return read_labels(splits.train, data)


def teachers_head(recipe: Recipe, lesson: LabelLesson) -> GivenHead:
    """Return the teacher's own head for a student of its layers, in the student's order of labels.

    Raises:
        ModelError: the student pools its states otherwise.
    """
    from tenfold.teaching.student import GivenHead

    (data,) = recipe.tasks.values()
    settings = lesson.teacher.head
    if data.pooling not in ("auto", settings.pooling):
        found = f"{data.pooling}, and the teacher's head, which the student begins with, reads {settings.pooling}"
        raise ModelError(Problem("data.pooling", found, remedy=f"set data.pooling: {settings.pooling}, as it has"))
    weight, bias = lesson.alignment.head(*lesson.teacher.saved_head())
    return GivenHead(lesson.task, replace(settings, shared_with=None), weight, bias)


def of_labels(run: Run, load: Callable[[], Trunk], lesson: LabelLesson, options: DistillationOptions) -> Stage:
    """Return the stage that trains against the teacher's logits, which it is asked for once; `load` gives its model."""
    from tenfold.kernels.linear_distillation import Mixture
    from tenfold.objectives.label_distillation import LabelDistillation
    from tenfold.objectives.labels import WholeRowLoss
    from tenfold.teaching.class_lessons import class_lessons

    task, stage = run.world.first, run.stage(STUDENT)
    lessons = class_lessons(
        lesson.teacher,
        task.train.rows,
        lesson.alignment,
        runtime=run.runtime,
        load=load,
        log=run.log,
        stop_asked=run.stop_asked,
    )
    mixture = Mixture(options.alpha, options.temperature, options.divergence, options.beta)
    form = task.train.form
    own = stage.objective
    assert form in ("class", "classes", "value") and isinstance(own, WholeRowLoss), "`find_lesson` has refused others"
    return replace(stage, objective=LabelDistillation(lessons, own, form, mixture))
