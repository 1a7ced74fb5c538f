"""Rows to which any number of labels apply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tenfold.data.batch import Entry
from tenfold.data.labelled import Labelled
from tenfold.data.prepare import Prepared
from tenfold.evaluation.label_metrics import label_measures
from tenfold.evaluation.scorecard import Measure
from tenfold.objectives.labels import LabelBinaryCrossEntropy
from tenfold.recipe import OptimSection
from tenfold.tasks.labels import LabelKind, LabelledItem


class MultiLabel(LabelKind):
    """Tasks of sets of labels: binary cross entropy of each label, F1 over all of them."""

    name = "multi_label"
    metrics = ("micro_f1", "macro_f1", "accuracy")

    def _item(self, prepared: Prepared, entry: Entry) -> LabelledItem:
        item = super()._item(prepared, entry)
        names = [name for name, applies in zip(self.space.names, entry.labels, strict=True) if applies]
        return replace(item, reference=" ".join(names))

    def objective(self, optim: OptimSection) -> LabelBinaryCrossEntropy:
        """Return the binary cross entropy of each label."""
        return LabelBinaryCrossEntropy()

    def measures(self, logits: Sequence[Tensor], items: Sequence[LabelledItem]) -> list[Measure]:
        """Return micro and macro F1, exact matches and the measures of probabilities."""
        thresholds = [self.threshold] * len(self.space.names)
        return label_measures(self.chances(logits), [item.labels for item in items], thresholds=thresholds)

    def predicted(self, logits: Sequence[Tensor], examples: Sequence[Labelled]) -> list[dict[str, Any]]:
        """Return as `label` the list of those that apply, and the `probabilities` of all."""
        named = [dict(zip(self.space.names, row, strict=True)) for row in self.chances(logits)]
        return [
            {"label": [name for name, p in row.items() if p >= self.threshold], "probabilities": row} for row in named
        ]

    def chances(self, logits: Sequence[Tensor]) -> list[list[float]]:
        """Return each label's own probability, row by row."""
        return [torch.sigmoid(row.double() / self.temperature).tolist() for row in logits]
