"""The output layer and its loss in one: what does cross entropy cost without ever holding all logits?

Shape letters: S supervised positions, C of them in one piece, H hidden size, V vocabulary.
Source: the pieces and the gradient in the forward, Hsu et al. 2024, "Liger Kernel", section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tenfold.kernels.output_layer import Cap, logits_by_piece, summed_by_piece


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the cross entropy summed over the rows of `hidden` [S, H], a scalar in fp32.

    `targets` [S] are classes of `weight` [V, H] (there is no ignored class: pass supervised rows only; with
    none the sum is 0 and so are the gradients). Logits are softcap * tanh(scale * product / softcap). Label
    smoothing is that of `torch.nn.functional.cross_entropy`. Products run in the dtype of `hidden`, or in
    autocast's where it is on. The backward can run once.
    """

    def piece_loss(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        return cross_entropy_with_gradient(logits, targets[rows], label_smoothing)

    return summed_by_piece(hidden, weight, bias, Cap(scale, softcap), piece_loss)


def cross_entropy_with_gradient(logits: Tensor, targets: Tensor, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Return the summed loss of logits [C, V] in fp32, and its gradient for them."""
    column = targets[:, None]
    log_probabilities = torch.log_softmax(logits, -1)
    loss = -(1 - label_smoothing) * log_probabilities.gather(1, column).sum()
    if label_smoothing:
        loss = loss - label_smoothing * log_probabilities.mean(-1).sum()
    gradient = log_probabilities.exp_()
    if label_smoothing:
        gradient -= label_smoothing / logits.shape[-1]
    gradient.scatter_add_(1, column, gradient.new_full(column.shape, label_smoothing - 1))
    return loss, gradient


@torch.no_grad()
def token_losses(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> Tensor:
    """Return each row's negative log likelihood [S] in fp32, without gradient; see `linear_cross_entropy`."""
    losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    for rows, logits in logits_by_piece(hidden, weight, bias, Cap(scale, softcap)):
        losses[rows] = functional.cross_entropy(logits, targets[rows], reduction="none")
    return losses


def linear_cross_entropy_reference(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return what `linear_cross_entropy` should, through all logits at once and torch's own loss."""
    logits = Cap(scale, softcap).reference(hidden, weight, bias)
    return functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=label_smoothing)
