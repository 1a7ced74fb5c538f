"""The losses of heads: sums over exactly the rows, or tagged words, that have a label.

Shape letters: T tokens, N rows, C labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tenfold.data.batch import IGNORED, Batch
from tenfold.models.trunk import Trunk
from tenfold.objectives.objective import Loss


@dataclass(frozen=True)
class LabelCrossEntropy:
    """Cross entropy summed over labels: a row's class, or each word's tag.

    With `class_weights` each label counts as its class weighs; the sum is still divided by how many labels there are,
    so that weights of mean 1 over the training rows (`balanced`) leave the loss its size. Source: King & Zeng 2001,
    "Logistic Regression in Rare Events Data", section 4.1.
    """

    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0

    def weight(self, batch: Batch) -> int:
        """Return the number of labels."""
        return int((_labels(batch) != IGNORED).sum())

    def __call__(self, model: Trunk, batch: Batch) -> Loss:
        """Return the summed cross entropy."""
        return Loss(self.total(model.logits(batch), batch))

    def total(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the summed cross entropy of `logits` [N, C], or [T, C] for tags."""
        weights = None if self.class_weights is None else torch.tensor(self.class_weights, device=logits.device)
        return functional.cross_entropy(
            logits,
            _labels(batch).to(logits.device),
            weight=weights,
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )


@dataclass(frozen=True)
class LabelBinaryCrossEntropy:
    """Binary cross entropy of each label, yes or no, summed over the labels; divided by rows times labels."""

    def weight(self, batch: Batch) -> int:
        """Return the number of yes-or-no questions: rows times labels."""
        return _labels(batch).numel()

    def __call__(self, model: Trunk, batch: Batch) -> Loss:
        """Return the summed binary cross entropy."""
        return Loss(self.total(model.logits(batch), batch))

    def total(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the summed binary cross entropy of `logits` [N, C]."""
        answers = _labels(batch).to(logits.device)
        return functional.binary_cross_entropy_with_logits(logits, answers, reduction="sum")


@dataclass(frozen=True)
class SquaredError:
    """Squared error of numbers, summed over rows."""

    def weight(self, batch: Batch) -> int:
        """Return the number of rows."""
        return len(_labels(batch))

    def __call__(self, model: Trunk, batch: Batch) -> Loss:
        """Return the summed squared error."""
        return Loss(self.total(model.logits(batch), batch))

    def total(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the summed squared error of `logits` [N, 1]."""
        values = logits[:, 0]
        return ((values - _labels(batch).to(values.device)) ** 2).sum()


WholeRowLoss = LabelCrossEntropy | LabelBinaryCrossEntropy | SquaredError
"""The losses that need nothing but what the head answers for a row: their `total` takes logits from anywhere."""


@dataclass(frozen=True)
class SpanCrossEntropy:
    """Cross entropy of the answer's first token among all of its row, plus that of its last one, summed over rows.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 4.2.
    """

    def weight(self, batch: Batch) -> int:
        """Return the number of rows with an answer."""
        return int((_labels(batch)[:, 0] != IGNORED).sum())

    def __call__(self, model: Trunk, batch: Batch) -> Loss:
        """Return the summed cross entropy of both ends."""
        logits = model.logits(batch)
        ends = _labels(batch).to(logits.device)
        rows = zip(logits.split(batch.lengths), ends, strict=True)
        return Loss(
            torch.stack(
                [functional.cross_entropy(row.T, end, ignore_index=IGNORED, reduction="sum") for row, end in rows]
            ).sum()
        )


def _labels(batch: Batch) -> Tensor:
    assert batch.labels is not None, "rows with labels"
    return batch.labels
