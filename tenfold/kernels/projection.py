"""Linear layers with low-rank updates, as pieces of larger functions: what do products and their gradients cost?

y = x Wᵀ + bias + s (x Aᵀ) Bᵀ. Layers that read the same x share the product with their stacked A, and so do its
gradients. Everything runs in the dtype of x; gradients arrive in the dtype of what they belong to. These functions know
nothing of autograd: `normed_projection.py` and `gated_projection.py` make differentiable functions of them.

Shape letters: T tokens, I inputs, O outputs, R rank (Σ of the ranks where several layers share x).
Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", equation 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

Gradients: TypeAlias = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Projection:
    """A linear layer, and the low-rank update beside it where it has one."""

    weight: Tensor  # [O, I]
    bias: Tensor | None = None  # [O]
    a: Tensor | None = None  # [R, I]
    b: Tensor | None = None  # [O, R]
    scaling: float = 1.0

    @property
    def tensors(self) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """What an autograd function is handed, in this order, since it sees tensors only as arguments."""
        return self.weight, self.bias, self.a, self.b

    @property
    def rank(self) -> int:
        """R, 0 without an update."""
        return 0 if self.a is None else len(self.a)


@runtime_checkable
class Projectable(Protocol):
    """A module that may be a plain `Projection` at this moment."""

    def projection(self) -> Projection | None:
        """Return what the module computes, or None where it is more than a projection."""
        ...


def regroup(tensors: Sequence[Tensor | None], scalings: Sequence[float]) -> list[Projection]:
    """Return the projections whose `tensors` were laid end to end."""
    fours = [tensors[start : start + 4] for start in range(0, len(tensors), 4)]
    return [
        Projection(weight, bias, a, b, scaling)  # type: ignore[arg-type]
        for (weight, bias, a, b), scaling in zip(fours, scalings, strict=True)
    ]


def flat(projections: Sequence[Projection]) -> list[Tensor | None]:
    """Return all tensors of the projections, end to end."""
    return [tensor for projection in projections for tensor in projection.tensors]


def project(x: Tensor, projections: Sequence[Projection]) -> tuple[list[Tensor], Tensor | None]:
    """Return each layer's answer [T, O] for x [T, I], and x Aᵀ of all layers [T, R], None without updates."""
    stacked = _stacked_a(projections, x.dtype)
    low = None if stacked is None else x @ stacked.T
    outputs, start = [], 0
    for each in projections:
        bias = None if each.bias is None else each.bias.to(x.dtype)
        output = functional.linear(x, each.weight.to(x.dtype), bias)
        if low is not None and each.b is not None:
            output.addmm_(low[:, start : start + each.rank], each.b.to(x.dtype).T, alpha=each.scaling)
            start += each.rank
        outputs.append(output)
    return outputs, low


def project_backward(
    x: Tensor,
    gradients: Sequence[Tensor],
    projections: Sequence[Projection],
    low: Tensor | None,
    *,
    wants_x: bool,
    wanted: Sequence[bool],
) -> tuple[Tensor | None, list[Tensor | None]]:
    """Return the gradient of x, and those of all tensors as `flat` lays them; `wanted` says which of these.

    The gradients of the answers come in the dtype of x.
    """
    results: list[Tensor | None] = [None] * (4 * len(projections))
    low_gradients, start = [], 0
    for place, (gradient, each) in enumerate(zip(gradients, projections, strict=True)):
        if wanted[4 * place]:
            results[4 * place] = (gradient.T @ x).to(each.weight.dtype)
        if each.bias is not None and wanted[4 * place + 1]:
            results[4 * place + 1] = gradient.sum(0, dtype=torch.float32).to(each.bias.dtype)
        if low is not None and each.b is not None:
            low_gradients.append((gradient @ each.b.to(x.dtype)).mul_(each.scaling))
            if wanted[4 * place + 3]:
                # twice as fast as gradient.T @ low: the long side is the inner one
                product = low[:, start : start + each.rank].T @ gradient
                results[4 * place + 3] = product.T.to(each.b.dtype).mul_(each.scaling)
            start += each.rank
    low_gradient = torch.cat(low_gradients, 1) if low_gradients else None
    if low_gradient is not None:
        _add_a_gradients(results, low_gradient.T @ x, projections, wanted)
    if not wants_x:
        return None, results
    return _x_gradient(gradients, projections, low_gradient), results


def _add_a_gradients(
    results: list[Tensor | None], stacked: Tensor, projections: Sequence[Projection], wanted: Sequence[bool]
) -> None:
    start = 0
    for place, each in enumerate(projections):
        if each.a is not None and wanted[4 * place + 2]:
            results[4 * place + 2] = stacked[start : start + each.rank].to(each.a.dtype, copy=True)
        start += each.rank


def _x_gradient(gradients: Sequence[Tensor], projections: Sequence[Projection], low_gradient: Tensor | None) -> Tensor:
    dtype = gradients[0].dtype
    total = gradients[0] @ projections[0].weight.to(dtype)
    for gradient, each in zip(gradients[1:], projections[1:], strict=True):
        total.addmm_(gradient, each.weight.to(dtype))
    stacked = _stacked_a(projections, dtype)
    if low_gradient is not None and stacked is not None:
        total.addmm_(low_gradient, stacked)
    return total


def _stacked_a(projections: Sequence[Projection], dtype: torch.dtype) -> Tensor | None:
    parts = [each.a for each in projections if each.a is not None]
    if not parts:
        return None
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).to(dtype)


def working_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype that products with `x` run in: autocast's where it is on, else its own."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def projection_reference(x: Tensor, projection: Projection) -> Tensor:
    """Return what one layer should, through plain differentiable products in x's dtype."""
    bias = None if projection.bias is None else projection.bias.to(x.dtype)
    output = functional.linear(x, projection.weight.to(x.dtype), bias)
    if projection.a is None or projection.b is None:
        return output
    return output + projection.scaling * ((x @ projection.a.to(x.dtype).T) @ projection.b.to(x.dtype).T)
