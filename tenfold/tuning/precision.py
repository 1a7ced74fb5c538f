"""How trained fp32 weights live inside a network whose frozen weights are in a smaller dtype.

Rounding to bf16 swallows updates smaller than 1/256 of a weight, so whatever trains is held in fp32. An adapter casts
its own inputs; a base module that trains as it is does not, and gets two small hooks at its border instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor, nn


def hold_in_fp32(parameters: Iterable[nn.Parameter]) -> None:
    """Cast the parameters to fp32 in place; a tied one stays tied, as it stays the same object."""
    for parameter in parameters:
        parameter.data = parameter.data.float()


def bridge(modules: Iterable[nn.Module], *, dtype: torch.dtype) -> None:
    """Let each module with fp32 weights of its own take and give `dtype`, the rest of the network's."""
    for module in modules:
        if dtype != torch.float32 and any(True for _ in module.parameters(recurse=False)):
            module.register_forward_pre_hook(_enter, with_kwargs=True)
            module.register_forward_hook(partial(_leave, dtype=dtype))


def _enter(
    module: nn.Module, inputs: tuple[object, ...], named: dict[str, object]
) -> tuple[tuple[object, ...], dict[str, object]]:
    own = next(module.parameters(recurse=False)).dtype
    return tuple(_cast(value, own) for value in inputs), {name: _cast(value, own) for name, value in named.items()}


def _leave(module: nn.Module, inputs: tuple[object, ...], output: object, *, dtype: torch.dtype) -> object:
    return _cast(output, dtype)


def _cast(value: object, dtype: torch.dtype) -> object:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    # autocast chooses the dtype of every product itself, and would only undo ours
    return value if torch.is_autocast_enabled(value.device.type) else value.to(dtype)
