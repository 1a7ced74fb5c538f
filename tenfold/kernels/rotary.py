"""Rotary positions: how are queries and keys turned without keeping them, and without spelling out both halves?

The backward pass turns by the opposite angle, so only the angles are kept, which all layers share.

Shape letters: T tokens, H heads, D head size.
Source: Su et al. 2021, "RoFormer" (arXiv 2104.09864), equation 34, with the halves laid as in transformers' models.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Rotation(torch.autograd.Function):
    """x₁ cos - x₂ sin and x₂ cos + x₁ sin, where x₁ and x₂ are the halves of each head."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Turn x [T, H, D] by angles [T, 1, D]."""
        ctx.save_for_backward(cos, sin)
        ctx.dtype = x.dtype
        half = x.shape[-1] // 2
        turned = x * cos
        turned[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
        turned[..., half:].addcmul_(x[..., :half], sin[..., half:])
        return turned.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Turn back."""
        cos, sin = ctx.saved_tensors
        half = gradient.shape[-1] // 2
        turned = gradient * cos
        turned[..., :half].addcmul_(gradient[..., half:], sin[..., half:])
        turned[..., half:].addcmul_(gradient[..., :half], sin[..., :half], value=-1)
        return turned.to(ctx.dtype), None, None


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return x [T, H, D] turned by the angles of each token, whose cos and sin are [T, D]; in the dtype of x."""
    with torch.autocast(x.device.type, enabled=False):
        turned: Tensor = _Rotation.apply(x, cos[:, None], sin[:, None])  # type: ignore[no-untyped-call]
    return turned


def rotated_reference(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return what `rotated` should, through plain differentiable steps."""
    first, second = x.chunk(2, -1)
    return (x * cos[:, None] + torch.cat((-second, first), -1) * sin[:, None]).to(x.dtype)
