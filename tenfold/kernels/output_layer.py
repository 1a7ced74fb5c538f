"""A loss on top of the output layer, without ever holding all logits: what do all such losses have in common?

Logits exist for a few rows at a time; the forward turns each piece at once into its loss and into the
gradient of the hidden states (and of the weight and bias where they are trained), so the backward only
multiplies. What the loss is, a function of one piece of logits says.

Shape letters: S supervised positions, C of them in one piece, H hidden size, V vocabulary.
Source: the pieces and the gradient in the forward, Hsu et al. 2024, "Liger Kernel", section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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

PieceLoss = Callable[[Tensor, slice], tuple[Tensor, Tensor]]
"""From logits [C, V] in fp32 and the rows they are of to the summed loss and its gradient for them, [C, V] in fp32.

The logits may not be changed: the soft cap's own derivative is read from them afterwards.
"""


@dataclass(frozen=True)
class Cap:
    """From plain products to logits: the scale first, then the soft cap, as the models apply them."""

    scale: float = 1.0
    softcap: float | None = None

    def logits(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return [C, V] in fp32; the product itself runs in the dtype of `hidden`. Not differentiable."""
        logits = functional.linear(_filled(hidden), weight, bias)[: len(hidden)].float()
        if self.scale != 1:
            logits.mul_(self.scale)
        if self.softcap is not None:
            logits.div_(self.softcap).tanh_().mul_(self.softcap)
        return logits

    def carry_back(self, gradient: Tensor, logits: Tensor) -> None:
        """Turn the gradient of `logits` into that of the plain products, in place."""
        if self.softcap is not None:
            gradient.mul_((logits / self.softcap).square_().neg_().add_(1))
        if self.scale != 1:
            gradient.mul_(self.scale)

    def reference(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Return what `logits` should, differentiably."""
        logits = functional.linear(hidden, weight, bias).float() * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


def _filled(rows: Tensor) -> Tensor:
    return functional.pad(rows, (0, 0, 0, -len(rows) % ROW_ROUNDING))


def pieces(num_rows: int, vocabulary: int) -> Iterator[slice]:
    """Yield slices of nearly equal size, each within PIECE_BYTES of fp32 logits."""
    largest = max(1, PIECE_BYTES // (4 * vocabulary))
    count = -(-num_rows // largest)
    for piece in range(count):
        yield slice(piece * num_rows // count, (piece + 1) * num_rows // count)


def working_dtype(hidden: Tensor) -> torch.dtype:
    """Return the dtype that products with `hidden` run in: its own, or autocast's where it is on."""
    device_type = hidden.device.type
    if torch.is_autocast_enabled(device_type):
        return torch.get_autocast_dtype(device_type)
    return hidden.dtype


def logits_by_piece(hidden: Tensor, weight: Tensor, bias: Tensor | None, cap: Cap) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows and their logits [C, V] in fp32, a piece at a time, without gradient."""
    dtype = working_dtype(hidden)
    with torch.no_grad(), torch.autocast(hidden.device.type, enabled=False):
        states, matrix = hidden.to(dtype), weight.to(dtype)
        offset = None if bias is None else bias.to(dtype)
        for rows in pieces(len(states), len(weight)):
            yield rows, cap.logits(states[rows], matrix, offset)


def summed_by_piece(hidden: Tensor, weight: Tensor, bias: Tensor | None, cap: Cap, piece_loss: PieceLoss) -> Tensor:
    """Return the loss summed over the rows of `hidden` [S, H], a scalar in fp32 whose backward can run once.

    Products run in the dtype of `hidden`, or in autocast's where it is on. Without rows the sum is 0, and so are the
    gradients.
    """
    total: Tensor = _SummedByPiece.apply(hidden, weight, bias, cap, piece_loss)  # type: ignore[no-untyped-call]
    return total


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


class _SummedByPiece(torch.autograd.Function):
    """Everything happens in the forward; the backward multiplies what it kept, and frees it."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, cap: Cap, piece_loss: PieceLoss
    ) -> Tensor:
        dtype = working_dtype(hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            states, matrix = hidden.to(dtype), weight.to(dtype)
            offset = None if bias is None else bias.to(dtype)
            gradients = _Gradients(ctx.needs_input_grad, states, weight, bias)
            total = torch.zeros((), dtype=torch.float32, device=hidden.device)
            for rows in pieces(len(states), len(weight)):
                logits = cap.logits(states[rows], matrix, offset)
                loss, gradient = piece_loss(logits, rows)
                cap.carry_back(gradient, logits)
                gradients.add(rows, gradient, states, matrix)
                total += loss
        ctx.gradients = gradients
        ctx.dtypes = (hidden.dtype, weight.dtype, None if bias is None else bias.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        kept, ctx.gradients = ctx.gradients, None
        if kept is None:
            raise RuntimeError("the gradients of the output layer's loss were freed by an earlier backward")
        hidden, weight, bias = (
            None if part is None else part.mul_(gradient).to(dtype)
            for part, dtype in zip((kept.hidden, kept.weight, kept.bias), ctx.dtypes, strict=True)
        )
        return hidden, weight, bias, None, None
