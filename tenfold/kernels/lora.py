"""A linear layer with a low-rank update, fused: how does LoRA train at the frozen weight's speed?

y = x Wᵀ + bias + s (x Aᵀ) Bᵀ with W frozen in the working dtype and A, B trained in fp32. Written as plain
modules, the small products run in fp32 with two copies of the activations each; here A and B are cast once,
everything runs in the working dtype, and the gradients arrive in fp32.

Shape letters: T tokens (all leading dimensions), I inputs, O outputs, R rank.
Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", equation 3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class _LoraLinear(torch.autograd.Function):
    """Keeps x, x Aᵀ and the cast A and B for the backward; W belongs to the module and costs nothing."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
    ) -> Tensor:
        """Compute for x [T, I]."""
        dtype = x.dtype
        with torch.autocast(x.device.type, enabled=False):
            low_a, low_b = a.to(dtype), b.to(dtype)
            low = x @ low_a.T  # [T, R]
            output = functional.linear(x, weight.to(dtype), None if bias is None else bias.to(dtype))
            output.addmm_(low, low_b.T, alpha=scaling)
        ctx.save_for_backward(x, weight, low_a, low_b, low)
        ctx.scaling, ctx.dtypes = scaling, (a.dtype, b.dtype)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None, Tensor, Tensor, None]:
        """Compute the gradients of x, A and B."""
        x, weight, low_a, low_b, low = ctx.saved_tensors
        a_dtype, b_dtype = ctx.dtypes
        with torch.autocast(gradient.device.type, enabled=False):
            low_gradient = (gradient @ low_b).mul_(ctx.scaling)  # [T, R]
            a_gradient = (low_gradient.T @ x).to(a_dtype)
            b_gradient = (low.T @ gradient).T.to(b_dtype).mul_(ctx.scaling)
            x_gradient = None
            if ctx.needs_input_grad[0]:
                x_gradient = gradient @ weight.to(x.dtype)
                x_gradient.addmm_(low_gradient, low_a)
        return x_gradient, None, None, a_gradient, b_gradient, None


def lora_linear(x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float) -> Tensor:
    """Return x Wᵀ + bias + scaling (x Aᵀ) Bᵀ, [..., O], for x [..., I], weight [O, I], a [R, I], b [O, R].

    Computed in x's dtype, or autocast's where it is on; `a` and `b` get gradients in their own dtype. Where
    the weight or the bias is trained too, the plain expression runs instead.
    """
    device_type = x.device.type
    if torch.is_autocast_enabled(device_type):
        x = x.to(torch.get_autocast_dtype(device_type))
    if weight.requires_grad or (bias is not None and bias.requires_grad):
        return lora_linear_reference(x, weight, bias, a, b, scaling)
    tokens = x.reshape(-1, x.shape[-1])
    output: Tensor = _LoraLinear.apply(tokens, weight, bias, a, b, scaling)  # type: ignore[no-untyped-call]
    return output.view(*x.shape[:-1], len(weight))


def lora_linear_reference(
    x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scaling: float
) -> Tensor:
    """Return what `lora_linear` should, through plain differentiable products in x's dtype."""
    with torch.autocast(x.device.type, enabled=False):
        base = functional.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
        return base + scaling * ((x @ a.to(x.dtype).T) @ b.to(x.dtype).T)
