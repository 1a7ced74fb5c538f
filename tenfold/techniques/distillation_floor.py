"""What guessing would score: a teacher that is not clearly above it has nothing that a student could keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tenfold.evaluation.scorecard import Change, Measure, Score

if TYPE_CHECKING:
    from tenfold.tasks.labels import LabelKind
    from tenfold.tasks.task import Task

LEAD = "teacher over the commonest answer"
"""The name under which a run reports how far its teacher is above guessing."""


def lead_over_guessing(teacher: Score, task: Task) -> dict[str, object] | None:
    """Return by how much the teacher's task metric is better than the commonest answer's, and whether it is clearly so.

    None where nothing can be guessed: words whose metric is another than being the reference itself.
    """
    guessed = _guessed(task, teacher.primary.name)
    own = teacher.primary
    if guessed is None or guessed.num_items != own.num_items or guessed.weights != own.weights:
        return None
    change = Change(task.name, own.name, own.higher_is_better, guessed.change_to(own))
    return {"guessing": round(guessed.value, 3), "change": change.figure, "is clear": change.is_better}


def guessing_told(reported: Mapping[str, Any]) -> str:
    """Return why there is nothing to keep of a teacher that is not clearly above guessing; empty where it is."""
    lead = reported.get(LEAD)
    if lead is None or lead["is clear"]:
        return ""
    return f"the teacher is not clearly better than guessing the commonest answer ({lead['change']})"


def _guessed(task: Task, metric: str) -> Measure | None:
    from tenfold.tasks.labels import LabelKind

    if isinstance(task.kind, LabelKind):
        return _guessed_labels(task.kind, task, metric)
    references = [getattr(item, "reference", None) or "" for item in task.items]
    if metric != "exact_match" or not references:
        return None
    commonest = max(sorted(set(references)), key=references.count)
    return Measure(metric, "share", True, tuple(float(each == commonest) for each in references))


def _guessed_labels(kind: LabelKind, task: Task, metric: str) -> Measure | None:
    """Return the metric of the class that most training rows have, each label's majority, or the numbers' mean."""
    import torch

    from tenfold.tasks.labels import LabelledItem

    items = [item for item in task.items if isinstance(item, LabelledItem)]
    if kind.space.form == "value":
        logits = torch.zeros(1)
    else:
        shares = torch.tensor(kind.space.counts).double().clamp(min=0.5) / max(1, len(task.train))
        logits = shares.log() if kind.space.form == "class" else torch.logit(shares, eps=1e-6)
    found = kind.measures([logits] * len(items), items)
    return next((measure for measure in found if measure.name == metric), None)
