"""Who teaches a run, what it is asked, and how a student of any size learns from it: in words, or in labels."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from tenfold.techniques.distillation_claims import STUDENT, TEACHER
from tenfold.techniques.distillation_floor import LEAD, lead_over_guessing
from tenfold.techniques.distillation_labels import LabelLesson, find_lesson, of_labels
from tenfold.techniques.distillation_options import DistillationOptions
from tenfold.techniques.distillation_start import curve_student
from tenfold.techniques.distillation_timing import time_both
from tenfold.techniques.distillation_words import of_answers, of_tokens

if TYPE_CHECKING:
    from tenfold.engine.stage import Stage
    from tenfold.evaluation.scorecard import Scorecard
    from tenfold.models.sources import ModelFiles
    from tenfold.models.trunk import Trunk
    from tenfold.tasks.task import Task
    from tenfold.techniques.context import Run


class Lessons:
    """The teacher of a run and what is learned from it; the teacher's model is loaded when it is asked."""

    def __init__(self, run: Run, options: DistillationOptions) -> None:
        from tenfold.teaching.teacher import OnCall, find_teacher, shape_of

        self.run = run
        self.options = options
        self.teacher = OnCall(find_teacher(options.teacher), run.runtime)
        self.layers = {TEACHER: self.teacher.teacher.shape.blocks, STUDENT: shape_of(run.world.files).blocks}
        """The number of layers of each model that is trained or compared with, by its stage's name."""

    @cached_property
    def labels(self) -> LabelLesson | None:
        """How the teacher teaches rows with labels; None where rows are answered in words."""
        from tenfold.tasks.labels import LabelKind

        task = self.run.world.first
        if not isinstance(task.kind, LabelKind):
            return None
        return find_lesson(self.teacher.teacher, task.name, task.kind.format, task.kind.space)

    @cached_property
    def seen(self) -> Task:
        """The run's task as the teacher reads it."""
        from tenfold.teaching.classes import seen_by_class_teacher
        from tenfold.teaching.teacher import seen_by

        run, recipe = self.run, self.run.recipe
        if self.labels is None:
            return seen_by(self.teacher.teacher, run.world.first, recipe)
        limits = {"max_rows": recipe.evaluation.max_rows, "seed": recipe.runtime.seed}
        return seen_by_class_teacher(self.labels.teacher, run.world.first, **limits)

    def score_teacher(self) -> None:
        """Add the teacher's rows to the scorecard, on the same test rows as the student's; report its lead."""
        from tenfold.engine.store import fingerprint

        run, teacher = self.run, self.teacher.teacher
        key = fingerprint(TEACHER, teacher.sha256, str(run.runtime.compute_dtype), run.runtime.device.type)
        run.score_other(TEACHER, self.seen, self._answering, key=key, family=teacher.shape.family)
        score = run.scorecard.score(TEACHER, run.world.first.name)
        lead = None if score is None else lead_over_guessing(score, run.world.first)
        if lead is not None:
            run.report(LEAD, lead)

    def _answering(self) -> Trunk:
        model = self.teacher.model()
        return model if self.labels is None else self.labels.teacher.answering(model)

    def stage(self, run: Run) -> Stage:
        """Return the stage by which the model of `run` (this one, or one beside it) learns from the teacher."""
        if self.labels is not None:
            return of_labels(run, self._answering, self.labels, self.options)
        if self.options.level == "sequence":
            return of_answers(run, self.teacher)
        return of_tokens(run, self.teacher, self.options)

    def student(self, layers: int) -> ModelFiles:
        """Return the files of a student of so many layers, made as the recipe's own."""
        return curve_student(self.run.recipe, self.options, layers, self.teacher.teacher, self.labels)

    def timed(self, run: Run, stage: str) -> Scorecard:
        """Return the timings of the teacher and of `run`'s model, the latter as `stage`; empty without test rows."""
        return time_both(run, self.teacher.teacher, self._served, self.seen, student=stage)

    def _served(self) -> Trunk:
        model = self.teacher.teacher.load_merged(self.run.runtime)
        return model if self.labels is None else self.labels.teacher.answering(model)

    def release(self) -> None:
        """Let the teacher's memory go; when asked again it is loaded again."""
        self.teacher.release()
