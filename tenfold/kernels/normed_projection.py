"""RMSNorm and the linear layers that read it, in one: how does a block enter attention without keeping the norm?

Kept for the backward pass are x, which the residual needs anyway, and one number a token; the normed states, which
every layer's weight gradient needs, are computed again. x itself is handed on to the residual, so that the two
gradients it gets are summed here, in fp32 and without a pass of their own.

Shape letters: T tokens, H hidden size, O outputs of a layer.
Source: RMSNorm, Zhang & Sennrich 2019 (arXiv 1910.07467), equation 4; the recomputation, Chen et al. 2016
(arXiv 1604.06174), section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tenfold.kernels.projection import (
    Projection,
    flat,
    project,
    project_backward,
    projection_reference,
    regroup,
    working_dtype,
)


def _spread(x: Tensor, epsilon: float) -> Tensor:
    """Return one over the root of the mean square of each token, [T, 1] in fp32."""
    norms = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    spread: Tensor = norms.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
    return spread


def _hat(x: Tensor, spread: Tensor) -> Tensor:
    """Return x with a mean square of one, in fp32."""
    return x * spread if x.dtype == torch.float32 else x.float().mul_(spread)


def _normed(hat: Tensor, weight: Tensor, x_dtype: torch.dtype, dtype: torch.dtype) -> Tensor:
    # rounded to x's dtype before the weight is applied, as transformers' models do
    return (weight * hat.to(x_dtype)).to(dtype)


class _NormedProjections(torch.autograd.Function):
    """Gives x itself, then each layer's answer."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, epsilon: float, scalings: tuple[float, ...], *tensors: Tensor | None
    ) -> tuple[Tensor, ...]:
        """Compute for x [T, H]."""
        dtype = working_dtype(x)
        with torch.autocast(x.device.type, enabled=False):
            spread = _spread(x, epsilon)
            normed = _normed(_hat(x, spread), weight, x.dtype, dtype)
            outputs, low = project(normed, regroup(tensors, scalings))
        ctx.save_for_backward(x, weight, spread, low, *tensors)
        ctx.scalings, ctx.dtype = scalings, dtype
        return x.view_as(x), *outputs

    @staticmethod
    def backward(ctx: Any, residual: Tensor, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of x, of the norm's weight and of the layers' tensors."""
        x, weight, spread, low, *tensors = ctx.saved_tensors
        wants_x, wants_weight, *wanted = ctx.needs_input_grad
        with torch.autocast(x.device.type, enabled=False):
            hat = _hat(x, spread)
            gradient, results = project_backward(
                _normed(hat, weight, x.dtype, ctx.dtype),
                gradients,
                regroup(tensors, ctx.scalings),
                low,
                wants_x=wants_x or wants_weight,
                wanted=wanted[2:],
            )
            weight_gradient = x_gradient = None
            if wants_weight:
                assert gradient is not None
                weight_gradient = (gradient.float() * hat).sum(0).to(weight.dtype)
            if wants_x:
                assert gradient is not None
                x_gradient = _norm_backward(gradient, hat, weight, spread).add_(residual).to(x.dtype)
        return x_gradient, weight_gradient, None, None, *results


def _norm_backward(gradient: Tensor, hat: Tensor, weight: Tensor, spread: Tensor) -> Tensor:
    """Return the gradient of x in fp32, from that of the normed states; `hat` is left as it was."""
    total = gradient.float() * weight
    along = torch.linalg.vecdot(total, hat)[:, None].div_(hat.shape[-1])
    return total.addcmul_(hat, along, value=-1).mul_(spread)


def normed_projections(
    x: Tensor, weight: Tensor, *, epsilon: float, projections: Sequence[Projection]
) -> tuple[Tensor, ...]:
    """Return x for the residual, and every projection of RMSNorm(x) [T, O], for x [T, H].

    The products run in x's dtype, or in autocast's where it is on. Use the x that is returned in place of the one that
    went in: its gradient is summed with that of the norm.
    """
    scalings = tuple(each.scaling for each in projections)
    outputs: tuple[Tensor, ...] = _NormedProjections.apply(  # type: ignore[no-untyped-call]
        x, weight, epsilon, scalings, *flat(projections)
    )
    return outputs


def rms_norm_reference(x: Tensor, weight: Tensor, *, epsilon: float) -> Tensor:
    """Return RMSNorm(x) through plain differentiable steps, rounded where transformers' models round."""
    wide = x.float()
    return weight * (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + epsilon)).to(x.dtype)


def normed_projections_reference(
    x: Tensor, weight: Tensor, *, epsilon: float, projections: Sequence[Projection]
) -> tuple[Tensor, ...]:
    """Return what `normed_projections` should, through plain differentiable steps."""
    normed = rms_norm_reference(x, weight, epsilon=epsilon).to(working_dtype(x))
    with torch.autocast(x.device.type, enabled=False):
        return x, *(projection_reference(normed, each) for each in projections)
