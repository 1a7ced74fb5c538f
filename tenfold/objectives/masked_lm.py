"""The loss of masked language modelling: cross entropy of each hidden token given all others of its row."""

from __future__ import annotations

from dataclasses import dataclass

from tenfold.data.batch import Batch
from tenfold.models.masked_head import MaskedHead
from tenfold.models.trunk import Trunk
from tenfold.objectives.objective import Loss


@dataclass(frozen=True)
class MaskedLanguageModelling:
    """Cross entropy summed over hidden tokens, by `head`, or the model's own for the batch's task where that is unset.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 3.1.
    """

    label_smoothing: float = 0.0
    head: MaskedHead | None = None

    def weight(self, batch: Batch) -> int:
        """Return the number of hidden tokens."""
        return batch.num_supervised

    def __call__(self, model: Trunk, batch: Batch) -> Loss:
        """Return the summed cross entropy."""
        head = self.head or model.masked_head(batch.task)
        states, targets = model.at_targets(batch)
        with model.autocasting():
            total = head.loss_sum(states, targets, model.embeddings, label_smoothing=self.label_smoothing)
        return Loss(total)
