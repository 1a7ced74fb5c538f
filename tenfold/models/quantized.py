"""What 4-bit base weights need to be trained on and merged: a guard against a fault of bitsandbytes, dequantising.

On CPUs with avx512_bf16, bitsandbytes 0.50 repacks a 4-bit weight in place for inference at the first forward pass
without gradients in evaluation mode. From then on no gradient flows through that layer to those below, and
dequantising it gives garbage; neither raises. `keep_trainable` switches the repacking off.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import nn

from tenfold.errors import ModelError, Problem, RecipeError

if TYPE_CHECKING:
    from bitsandbytes.nn import Linear4bit


@dataclass(frozen=True)
class Nf4:
    """Base weights in 4-bit NormalFloat (Dettmers et al. 2023, arXiv 2305.14314).

    `doubled`: the scales of the blocks of 64 weights are quantised too, which saves 0.4 bits a weight.
    """

    doubled: bool = True

    def config(self, dtype: torch.dtype) -> object:
        """Return transformers' description of it; products are made in `dtype`."""
        from transformers import BitsAndBytesConfig

        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=self.doubled,
            bnb_4bit_compute_dtype=dtype,
        )


def require_bitsandbytes() -> None:
    """Check that 4-bit weights can be had.

    Raises:
        RecipeError: bitsandbytes is not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        raise RecipeError(
            Problem("tuner.kind", "qlora needs bitsandbytes", remedy='pip install "tenfold[qlora]", or use lora')
        )


def is_4bit(module: nn.Module) -> TypeGuard[Linear4bit]:
    """Return whether `module` is one of bitsandbytes' 4-bit linear layers, without importing bitsandbytes for it."""
    return any(
        kind.__module__ == "bitsandbytes.nn.modules" and kind.__name__ == "Linear4bit" for kind in type(module).__mro__
    )


def keep_trainable(network: nn.Module) -> int:
    """Keep every 4-bit layer as it was loaded; call it directly after loading. Returns how many there are.

    Raises:
        ModelError: a layer has been repacked already, and no longer passes gradients.
    """
    layers = [module for module in network.modules() if is_4bit(module)]
    for layer in layers:
        state = layer.weight.quant_state
        if state is not None and getattr(state, "packing_format_for_cpu", False):
            raise ModelError(
                Problem(
                    where="model",
                    found="the 4-bit weights were repacked for inference and can no longer be trained or merged",
                    remedy="load the model again and call keep_trainable before its first forward pass",
                )
            )
        layer.support_avx512bf16_for_cpu = False
    return len(layers)


def dequantize(layer: Linear4bit) -> nn.Linear:
    """Return a plain linear layer with the weights that `layer` computes with, in its compute dtype."""
    from bitsandbytes.functional import dequantize_4bit

    weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
    dtype = layer.compute_dtype if layer.compute_dtype is not None else weight.dtype
    plain = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
    plain.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    if layer.bias is not None:
        plain.bias = nn.Parameter(layer.bias.detach().to(dtype), requires_grad=False)
    return plain


def dequantize_network(network: nn.Module) -> None:
    """Replace what 4-bit layers are left by plain ones, and take the traces of quantisation off the model."""
    for name, module in list(network.named_modules()):
        if is_4bit(module):
            network.set_submodule(name, dequantize(module))
    quantizer = getattr(network, "hf_quantizer", None)
    if quantizer is not None:
        quantizer.remove_quantization_config(network)
