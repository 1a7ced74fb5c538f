"""Rows that have a number each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from tenfold.data.labelled import Labelled
from tenfold.evaluation.label_metrics import number_measures
from tenfold.evaluation.scorecard import Measure
from tenfold.models.heads import HeadSettings
from tenfold.objectives.labels import SquaredError
from tenfold.recipe import OptimSection
from tenfold.tasks.labels import LabelKind, LabelledItem


class Regression(LabelKind):
    """Tasks of numbers: squared error of the number, in spreads from the training rows' mean."""

    name = "regression"
    metrics = ("mean_absolute_error", "r_squared", "pearson")

    @property
    def head(self) -> HeadSettings:
        """One output, on the state that answers for a row."""
        return HeadSettings(1, self._pooling, shared_with=self.data.head)

    def objective(self, optim: OptimSection) -> SquaredError:
        """Return the squared error."""
        return SquaredError()

    def measures(self, logits: Sequence[Tensor], items: Sequence[LabelledItem]) -> list[Measure]:
        """Return mean absolute error, R² and correlation, in the target's own unit."""
        wanted = [item.example.label for item in items]
        return number_measures(self._numbers(logits), [label for label in wanted if isinstance(label, float)])

    def predicted(self, logits: Sequence[Tensor], examples: Sequence[Labelled]) -> list[dict[str, Any]]:
        """Return the number as `label`."""
        return [{"label": number} for number in self._numbers(logits)]

    def _numbers(self, logits: Sequence[Tensor]) -> list[float]:
        return [float(row[0]) * self.space.spread + self.space.mean for row in logits]
