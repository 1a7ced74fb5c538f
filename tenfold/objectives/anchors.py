"""Losses that hold trained parameters near values they once had: EWC by what mattered there, L2-SP all alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tenfold.data.batch import Batch
from tenfold.models.trunk import Trunk
from tenfold.objectives.objective import Objective


@dataclass(frozen=True)
class Anchor:
    """`strength / 2 * sum(importance * (value - anchor)**2)` over the parameters that `values` names.

    Without `importance` every parameter counts alike. `origin` says where values and importance were taken, so that two
    anchors of the same `repr` are the same.

    Source: with importance, EWC: Kirkpatrick et al. 2017 (arXiv 1612.00796), equation 3; without, L2-SP: Li et al.
    2018 (arXiv 1802.01483), equation 2, over exactly what trains (an adapter too, which starts somewhere as well).
    """

    strength: float
    origin: str
    values: Mapping[str, Tensor] = field(repr=False)
    importance: Mapping[str, Tensor] | None = field(default=None, repr=False)

    def __call__(self, network: nn.Module) -> Tensor | None:
        """Return the penalty, a scalar with a gradient; None where the network itself trains nothing.

        Heads are left alone: that of an earlier task gets gradients from that task's rows only.
        """
        total: Tensor | None = None
        for name, parameter in network.named_parameters():
            if name in self.values:
                distance = (parameter - self.values[name]).square()
                part = (distance if self.importance is None else self.importance[name] * distance).sum()
                total = part if total is None else total + part
        return None if total is None else self.strength / 2 * total


def copied(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of `parameters` as they are now, without gradients."""
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


def fisher_diagonal(
    model: Trunk, objective: Objective, rows: Iterable[Batch], parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """Return each parameter's diagonal Fisher information per unit of the loss, from batches of one row each.

    It is the sum over rows of the squared gradient of the row's summed loss, over all units that the rows hold: the
    same whether rows are long or short, and in the scale of the loss that training minimises. Dropout is off.

    Source: Kirkpatrick et al. 2017 (arXiv 1612.00796), section 2.1. This is the empirical Fisher: labels are those of
    the rows, where the exact one would draw them from the model.
    """
    squares = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    units = 0
    model.eval()
    for batch in rows:
        assert len(batch.rows) == 1, "gradients of several rows cannot be told apart"
        loss = objective(model, batch).total
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        for square, gradient in zip(squares.values(), gradients, strict=True):
            if gradient is not None:
                square += gradient.square()
        units += objective.weight(batch)
    return {name: square / max(1, units) for name, square in squares.items()}
