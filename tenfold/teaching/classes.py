"""A teacher that answers with labels: which of its tasks teaches, how its outputs become a student's, its own head."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from tenfold.artifact import Artifact
from tenfold.data.label_space import LabelSpace
from tenfold.data.prepare import prepare
from tenfold.errors import ModelError, Problem
from tenfold.models.heads import HeadSettings, saved_head
from tenfold.models.processor import Processor
from tenfold.models.trunk import Trunk
from tenfold.tasks.labels import LabelKind
from tenfold.tasks.task import LABEL_KINDS, Task, reopen_kind
from tenfold.teaching.teacher import WHERE, Teacher

TAUGHT = ("classification", "multi_label", "regression")
"""The kinds of task that are distilled: those that answer once for a whole row."""


@dataclass(frozen=True)
class Alignment:
    """How a teacher's outputs become a student's: the place of each of its labels there, or another unit of numbers."""

    order: tuple[int, ...]
    factor: float = 1.0
    shift: float = 0.0

    def outputs(self, logits: Tensor) -> Tensor:
        """Return `logits` [N, C] of the teacher's as those of the student."""
        return logits[:, list(self.order)] * self.factor + self.shift

    def head(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return a head's weight [C, H] and bias [C] so that it says what `outputs` says."""
        places = list(self.order)
        return weight[places] * self.factor, bias[places] * self.factor + self.shift


@dataclass(frozen=True)
class ClassTeacher:
    """A finished run with a head: `task` is which of its tasks teaches."""

    teacher: Teacher
    artifact: Artifact
    task: str

    @property
    def head(self) -> HeadSettings:
        """The shape of its head."""
        return HeadSettings(**self.artifact.facts["tasks"][self.task]["head"])

    def kind(self) -> LabelKind:
        """Return the teacher's own kind of task, which lays rows and reads answers as it learned to."""
        facts = self.artifact.facts["tasks"][self.task]
        processor = Processor(self.teacher.tokenizer, self.teacher.shape.family)
        kind = reopen_kind(facts, processor, self.artifact.recipe.tasks[self.task], task=self.task)
        assert isinstance(kind, LabelKind), "`find_class_teacher` takes no other"
        return kind

    def saved_head(self) -> tuple[Tensor, Tensor]:
        """Return the weight [C, H] and the bias [C] of its head."""
        return saved_head(self.artifact.weights, self.head.shared_with or self.task)

    def answering(self, model: Trunk) -> Trunk:
        """Return the teacher's loaded `model` with those of its adapters acting that answer the task."""
        self.artifact.answer_as(model, self.task)
        return model


def find_class_teacher(teacher: Teacher, *, task: str, format: str) -> ClassTeacher:
    """Return `teacher` as the one for rows of `format`, of the student's `task`.

    Raises:
        ModelError: it learned no such rows, or has no head that answers them.
    """
    kind, artifact = LABEL_KINDS[format].name, teacher.artifact
    wanted = f"a run of task_specific, multi_task or any other technique on rows of format {format}"
    if kind not in TAUGHT:
        found = f"{format} lie on tokens, and rows of this format are not distilled"
        raise ModelError(Problem("data.train", found, f"rows with {', '.join(TAUGHT)}"))
    if artifact is None:
        found = f"{teacher.name} is no run of Tenfold's, so it has no head that answers with labels"
        raise ModelError(Problem(WHERE, found, wanted))
    tasks = artifact.facts["tasks"]
    names = [name for name, facts in tasks.items() if facts["kind"] == kind]
    if not names:
        learned = ", ".join(sorted({str(facts["kind"]) for facts in tasks.values()}))
        raise ModelError(Problem(WHERE, f"{teacher.name} learned {learned}, and the rows are for {kind}", wanted))
    if len(names) > 1 and task not in names:
        remedy = "give your rows one of these names: data.tasks: {NAME: FILE}"
        raise ModelError(Problem(WHERE, f"{teacher.name} has several such tasks", ", ".join(names), remedy))
    chosen = task if task in names else names[0]
    if tasks[chosen]["head"] is None:
        found = f"{teacher.name} answers by an estimator over features, which no student is trained on"
        raise ModelError(Problem(WHERE, found, wanted))
    return ClassTeacher(teacher, artifact, chosen)


def aligned(teacher: LabelSpace, student: LabelSpace, *, name: str) -> Alignment:
    """Return how the outputs of the teacher `name` become the student's; the order of labels may differ, no label may.

    Raises:
        ModelError: one knows labels that the other does not.
    """
    if student.form == "value":
        return Alignment((0,), teacher.spread / student.spread, (teacher.mean - student.mean) / student.spread)
    missing = [label for label in student.names if label not in teacher.names]
    more = [label for label in teacher.names if label not in student.names]
    if missing or more:
        parts = [(missing, f"{name} never learned"), (more, f"only {name} knows")]
        found = "; ".join(f"{told} {', '.join(labels[:10])}" for labels, told in parts if labels)
        remedy = "take a teacher of the same labels, or train it again on rows that have them all"
        raise ModelError(Problem(WHERE, f"other labels than the training rows': {found}", remedy=remedy))
    return Alignment(tuple(teacher.names.index(label) for label in student.names))


def seen_by_class_teacher(teacher: ClassTeacher, task: Task, *, max_rows: int, seed: int) -> Task:
    """Return `task` as the teacher reads it: the same test rows in its tokens, with its own labels and settings."""
    if task.test is None:
        return task
    kind = teacher.kind()
    test = prepare(task.test.rows, kind.renderer, task=teacher.task)
    return replace(task, kind=kind, test=test, items=kind.items(test, max_rows=max_rows, seed=seed))
