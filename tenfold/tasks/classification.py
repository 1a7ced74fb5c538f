"""Rows that are of one class each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tenfold.data.label_space import LabelSpace
from tenfold.data.labelled import Labelled
from tenfold.data.prepare import Item
from tenfold.errors import DataError, Problem, nearest
from tenfold.evaluation.label_metrics import class_measures, most_probable
from tenfold.evaluation.scorecard import Measure
from tenfold.objectives.labels import LabelCrossEntropy
from tenfold.recipe import DataSection, OptimSection
from tenfold.tasks.labels import LabelKind, LabelledItem


class Classification(LabelKind):
    """Tasks of telling classes apart: cross entropy over the classes, accuracy, and how honest probabilities are."""

    name = "classification"
    metrics = ("accuracy", "macro_f1")
    smooths_labels = True

    def settled(self, items: Sequence[Item], data: DataSection) -> DataSection:
        """Return `data` with metrics chosen.

        Raises:
            DataError: it names a metric of another kind of task, or class weights that do not fit the classes.
        """
        class_weights(self.space, data)
        return super().settled(items, data)

    def objective(self, optim: OptimSection) -> LabelCrossEntropy:
        """Return the cross entropy of the classes, each weighed as `data.class_weights` says."""
        weights = class_weights(self.space, self.data)
        return LabelCrossEntropy(class_weights=weights, label_smoothing=optim.label_smoothing)

    def measures(self, logits: Sequence[Tensor], items: Sequence[LabelledItem]) -> list[Measure]:
        """Return accuracy, macro F1 and the measures of probabilities."""
        return class_measures(self.chances(logits), [int(item.labels[0]) for item in items])

    def predicted(self, logits: Sequence[Tensor], examples: Sequence[Labelled]) -> list[dict[str, Any]]:
        """Return the most probable `label` and the `probabilities` of all."""
        names = self.space.names
        return [
            {"label": names[most_probable(row)], "probabilities": dict(zip(names, row, strict=True))}
            for row in self.chances(logits)
        ]

    def chances(self, logits: Sequence[Tensor]) -> list[list[float]]:
        """Return the probability of each class, row by row."""
        return [torch.softmax(row.double() / self.temperature, dim=-1).tolist() for row in logits]


def class_weights(space: LabelSpace, data: DataSection) -> tuple[float, ...] | None:
    """Return what a row of each class counts in the loss; None where all count alike.

    Raises:
        DataError: `data.class_weights` names a label that is none, or leaves one out.
    """
    given = data.class_weights
    if given == "none":
        return None
    if given == "balanced":
        total = sum(space.counts)
        return tuple(total / (len(space.names) * max(1, count)) for count in space.counts)
    problems = [
        Problem(f"data.class_weights.{name}", "no such label", ", ".join(space.names), nearest(name, space.names))
        for name in given
        if name not in space.names
    ]
    missing = [name for name in space.names if name not in given]
    if missing:
        problems.append(Problem("data.class_weights", f"no weight for {', '.join(missing)}", remedy="give each one"))
    if problems:
        raise DataError(*problems)
    return tuple(given[name] for name in space.names)
