"""What an objective is: a sum over exactly the units that it counts, so that the engine can divide once per update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from tenfold.data.batch import Batch
from tenfold.models.trunk import Trunk


@dataclass(frozen=True)
class Loss:
    """`total` is a scalar with a gradient: a sum, never a mean, over the units that `Objective.weight` counts."""

    total: Tensor


class Objective(Protocol):
    """A loss over batches."""

    def weight(self, batch: Batch) -> int:
        """Return how many units (tokens, rows) the batch's loss sums over."""
        ...

    def __call__(self, model: Trunk, batch: Batch) -> Loss:
        """Return the batch's summed loss."""
        ...


class Penalty(Protocol):
    """A loss on parameters, added once per update (EWC, L2-SP, AdaLoRA's orthogonality)."""

    def __call__(self, network: nn.Module) -> Tensor | None:
        """Return the penalty as a scalar with a gradient, or None when there is none now."""
        ...
