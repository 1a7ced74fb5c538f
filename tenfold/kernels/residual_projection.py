"""Linear layers that add to the residual: how does a block leave attention and its gated MLP, keeping little?

`residual_projection` is residual + layer(x); `gated_projection` is residual + layer(silu(gate) * up), which keeps gate
and up and computes their product again in the backward pass.

Shape letters: T tokens, H hidden size, I inputs of the layer.
Source: the gated layer, Shazeer 2020 (arXiv 2002.05202), equation 6.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tenfold.kernels.projection import (
    Projection,
    project,
    project_backward,
    projection_reference,
    regroup,
)


def _added(residual: Tensor, output: Tensor) -> Tensor:
    return output.add_(residual) if output.dtype == residual.dtype else residual + output


class _ResidualProjection(torch.autograd.Function):
    """Keeps x and x Aᵀ."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, x: Tensor, scaling: float, *tensors: Tensor | None) -> Tensor:
        """Compute for residual [T, H] and x [T, I]."""
        with torch.autocast(x.device.type, enabled=False):
            (output,), low = project(x, regroup(tensors, (scaling,)))
        ctx.save_for_backward(x, low, *tensors)
        ctx.scaling = scaling
        return _added(residual, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Hand the gradient on to the residual and carry it through the layer."""
        x, low, *tensors = ctx.saved_tensors
        _, wants_x, _, *wanted = ctx.needs_input_grad
        with torch.autocast(x.device.type, enabled=False):
            x_gradient, results = project_backward(
                x,
                (gradient.to(x.dtype),),
                regroup(tensors, (ctx.scaling,)),
                low,
                wants_x=wants_x,
                wanted=wanted,
            )
        return gradient, x_gradient, None, *results


class _GatedProjection(torch.autograd.Function):
    """Keeps gate, up and the small x Aᵀ; what the layer reads is computed again."""

    @staticmethod
    def forward(
        ctx: Any, residual: Tensor, gate: Tensor, up: Tensor, scaling: float, *tensors: Tensor | None
    ) -> Tensor:
        """Compute for residual [T, H], gate and up [T, I]."""
        with torch.autocast(gate.device.type, enabled=False):
            (output,), low = project(functional.silu(gate).mul_(up), regroup(tensors, (scaling,)))
        ctx.save_for_backward(gate, up, low, *tensors)
        ctx.scaling = scaling
        return _added(residual, output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Hand the gradient on to the residual and carry it through the layer, the product and silu."""
        gate, up, low, *tensors = ctx.saved_tensors
        _, wants_gate, wants_up, _, *wanted = ctx.needs_input_grad
        gate_gradient = up_gradient = None
        with torch.autocast(gate.device.type, enabled=False):
            opened = functional.silu(gate)
            inner, results = project_backward(
                opened * up,
                (gradient.to(gate.dtype),),
                regroup(tensors, (ctx.scaling,)),
                low,
                wants_x=wants_gate or wants_up,
                wanted=wanted,
            )
            if inner is not None:
                up_gradient = opened.mul_(inner)
                gate_gradient = torch.ops.aten.silu_backward(inner.mul_(up), gate)
        return gradient, gate_gradient, up_gradient, None, *results


def residual_projection(residual: Tensor, x: Tensor, projection: Projection) -> Tensor:
    """Return residual + projection(x), [T, H] in the residual's dtype; the product runs in x's."""
    output: Tensor = _ResidualProjection.apply(  # type: ignore[no-untyped-call]
        residual, x, projection.scaling, *projection.tensors
    )
    return output


def gated_projection(residual: Tensor, gate: Tensor, up: Tensor, projection: Projection) -> Tensor:
    """Return residual + projection(silu(gate) * up), [T, H] in the residual's dtype; the rest runs in the gate's."""
    output: Tensor = _GatedProjection.apply(  # type: ignore[no-untyped-call]
        residual, gate, up, projection.scaling, *projection.tensors
    )
    return output


def residual_projection_reference(residual: Tensor, x: Tensor, projection: Projection) -> Tensor:
    """Return what `residual_projection` should, through plain differentiable steps."""
    return residual + projection_reference(x, projection)


def gated_projection_reference(residual: Tensor, gate: Tensor, up: Tensor, projection: Projection) -> Tensor:
    """Return what `gated_projection` should, through plain differentiable steps."""
    return residual + projection_reference(functional.silu(gate) * up, projection)
