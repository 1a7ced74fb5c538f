"""The output layer and its loss in one: what does cross entropy cost without ever holding all logits?

Logits exist for a few rows at a time; the forward turns each piece at once into its loss and into the
gradient of the hidden states (and of the weight and bias where they are trained), so the backward only
multiplies.

Shape letters: S supervised positions, C of them in one piece, H hidden size, V vocabulary.
Source: the pieces and the gradient in the forward, Hsu et al. 2024, "Liger Kernel", section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

PIECE_BYTES = 30 * 2**20
"""Size of one piece of fp32 logits: small beside a model, large enough for products at full speed, and below
the 32 MB from which glibc asks the system for fresh pages every time (12 % slower at 48 MB, 10 % at 12 MB)."""


ROW_ROUNDING = 16
"""Rows of a product are filled up to a multiple of this: oneDNN keeps 0.6 MB for each number of rows that it meets."""


@dataclass(frozen=True)
class _Head:
    """From hidden states to fp32 logits: the scale first, then the soft cap, as the models apply them."""

    scale: float
    softcap: float | None

    def logits(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return [C, V] in fp32; the product itself runs in the dtype of `hidden`. Not differentiable."""
        logits = functional.linear(_filled(hidden), weight, bias)[: len(hidden)].float()
        if self.scale != 1:
            logits.mul_(self.scale)
        if self.softcap is not None:
            logits.div_(self.softcap).tanh_().mul_(self.softcap)
        return logits

    def carry_back(self, gradient: Tensor, logits: Tensor | None) -> None:
        """Turn the gradient of `logits` into that of the plain products, in place; they are needed for a soft cap."""
        if self.softcap is not None and logits is not None:
            gradient.mul_((logits / self.softcap).square_().neg_().add_(1))
        if self.scale != 1:
            gradient.mul_(self.scale)


def _filled(rows: Tensor) -> Tensor:
    return functional.pad(rows, (0, 0, 0, -len(rows) % ROW_ROUNDING))


def _pieces(num_rows: int, vocabulary: int) -> Iterator[slice]:
    """Yield slices of nearly equal size, each within PIECE_BYTES of fp32 logits."""
    largest = max(1, PIECE_BYTES // (4 * vocabulary))
    count = -(-num_rows // largest)
    for piece in range(count):
        yield slice(piece * num_rows // count, (piece + 1) * num_rows // count)


def _loss_and_gradient(logits: Tensor, targets: Tensor, head: _Head, label_smoothing: float) -> tuple[Tensor, Tensor]:
    """Return the piece's summed loss, and its gradient for the plain products [C, V] in fp32."""
    column = targets[:, None]
    log_probabilities = torch.log_softmax(logits, -1)
    capped = None if head.softcap is None else logits
    del logits  # as large as all that follows
    loss = -(1 - label_smoothing) * log_probabilities.gather(1, column).sum()
    if label_smoothing:
        loss = loss - label_smoothing * log_probabilities.mean(-1).sum()
    gradient = log_probabilities.exp_()
    if label_smoothing:
        gradient -= label_smoothing / gradient.shape[-1]
    gradient.scatter_add_(1, column, gradient.new_full(column.shape, label_smoothing - 1))
    head.carry_back(gradient, capped)
    return loss, gradient


class _Gradients:
    """Gradients of hidden states, weight and bias, each only where it is wanted.

    Weight and bias are summed over the pieces in fp32, whatever their own dtype.
    """

    def __init__(self, wanted: tuple[bool, ...], hidden: Tensor, weight: Tensor, bias: Tensor | None) -> None:
        self.hidden = torch.empty_like(hidden) if wanted[0] else None
        self.weight = torch.zeros_like(weight, dtype=torch.float32) if wanted[1] else None
        self.bias = torch.zeros_like(bias, dtype=torch.float32) if bias is not None and wanted[2] else None

    def add(self, rows: slice, gradient: Tensor, hidden: Tensor, weight: Tensor) -> None:
        """Add what these rows contribute, from the `gradient` [C, V] of their products in fp32."""
        if self.bias is not None:
            self.bias += gradient.sum(0)
        gradient = gradient.to(hidden.dtype)
        if self.hidden is not None:
            self.hidden[rows] = (_filled(gradient) @ weight)[: len(gradient)]
        if self.weight is not None and hidden.dtype == torch.float32:
            self.weight.addmm_(gradient.T, hidden[rows])
        elif self.weight is not None:
            self.weight += gradient.T @ hidden[rows]


class _LinearCrossEntropy(torch.autograd.Function):
    """Everything happens in the forward; the backward multiplies what it kept, and frees it."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        head: _Head,
        label_smoothing: float,
    ) -> Tensor:
        dtype = _working_dtype(hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            states, matrix = hidden.to(dtype), weight.to(dtype)
            offset = None if bias is None else bias.to(dtype)
            gradients = _Gradients(ctx.needs_input_grad, states, weight, bias)
            total = torch.zeros((), dtype=torch.float32, device=hidden.device)
            for rows in _pieces(len(states), len(weight)):
                loss, gradient = _loss_and_gradient(
                    head.logits(states[rows], matrix, offset), targets[rows], head, label_smoothing
                )
                gradients.add(rows, gradient, states, matrix)
                total += loss
        ctx.gradients = gradients
        ctx.dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None, None]:
        kept, ctx.gradients = ctx.gradients, None
        if kept is None:
            raise RuntimeError("the gradients of linear_cross_entropy were freed by an earlier backward")
        hidden, weight, bias = (
            None if part is None else part.mul_(gradient).to(dtype)
            for part, dtype in zip((kept.hidden, kept.weight, kept.bias), ctx.dtypes, strict=True)
        )
        return hidden, weight, bias, None, None, None


def _working_dtype(hidden: Tensor) -> torch.dtype:
    device_type = hidden.device.type
    if torch.is_autocast_enabled(device_type):
        return torch.get_autocast_dtype(device_type)
    return hidden.dtype


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
    head = _Head(scale, softcap)
    total: Tensor = _LinearCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, targets, head, label_smoothing
    )
    return total


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
    head = _Head(scale, softcap)
    dtype = _working_dtype(hidden)
    losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
    with torch.autocast(hidden.device.type, enabled=False):
        states, matrix = hidden.to(dtype), weight.to(dtype)
        offset = None if bias is None else bias.to(dtype)
        for rows in _pieces(len(states), len(weight)):
            logits = head.logits(states[rows], matrix, offset)
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
    logits = functional.linear(hidden, weight, bias).float() * scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=label_smoothing)
