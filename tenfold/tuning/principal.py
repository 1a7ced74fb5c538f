"""PiSSA and OLoRA without touching the base weights: what the factors start from is subtracted by frozen copies.

Both write W = (W - s B0 A0) + s B0 A0, freeze the bracket and train B and A from B0 and A0. PEFT stores the bracket
in the base model, which rounds it to the base's dtype (so the network changes before the first update), makes the
saved adapter useless on the original base, and cannot be done to 4-bit weights. Here the base stays as it is and a
second, frozen adapter holds A0 and -B0: the same function W + s (B A - B0 A0) with the same gradients, exactly the
base model at the start, and a plain LoRA of twice the rank when saved. The price is the products of a doubled rank.
Over 4-bit layers PEFT's own forward adds the two parts one after the other, exact only up to the compute dtype.

Source: PiSSA, Meng et al. 2024 (arXiv 2404.02948) equations 2 to 4; OLoRA, Büyükakyüz 2024 (arXiv 2406.01775).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Literal

import peft
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from tenfold.errors import Problem, RecipeError
from tenfold.models.quantized import dequantize, is_4bit
from tenfold.tuning.adapter_files import adapter_state
from tenfold.tuning.peft_config import explained, whole

ORIGIN = "origin"
"""PEFT's name for the frozen adapter that subtracts the starting factors."""


@torch.no_grad()
def start_from_base(network: peft.PeftModel, *, init: Literal["default", "gaussian", "pissa", "olora"]) -> None:
    """Set A and B of every LoRA layer to factors of its base weight, and freeze copies of them beside it.

    Raises:
        RecipeError: an embedding is among the targets; it has no such factors.
    """
    config = copy.deepcopy(network.active_peft_config)
    config.modules_to_save = None
    config.lora_dropout = 0.0
    config._custom_modules = network.active_peft_config._custom_modules
    with explained():
        network.add_adapter(ORIGIN, config)
    network.base_model.set_adapter([network.active_adapter, ORIGIN])
    for path, layer in _layers(network):
        if "default" not in layer.lora_A:
            raise RecipeError(Problem("tuner.init", f"{init} cannot start from {path}", allowed="linear layers"))
        a, b = _factors(_weight(layer), rank=layer.r["default"], scaling=layer.scaling["default"], init=init)
        layer.lora_A["default"].weight.data = a
        layer.lora_B["default"].weight.data = b
        layer.lora_A[ORIGIN].weight.data = a.clone()
        layer.lora_B[ORIGIN].weight.data = -b
    for parameter in _origin(network).values():
        parameter.requires_grad_(False)


def as_plain_lora(network: peft.PeftModel) -> tuple[peft.PeftConfig, dict[str, Tensor]]:
    """Return the configuration and tensors of the one plain LoRA that the trained and the frozen adapter add up to."""
    trained, origin = adapter_state(network), adapter_state(network, ORIGIN)
    for name, tensor in origin.items():
        trained[name] = torch.cat([trained[name], tensor], dim=0 if ".lora_A." in name else 1)
    config = copy.deepcopy(network.active_peft_config)
    # the scale stays as it was: alpha / rank, or alpha / sqrt(rank) when rank-stabilised
    config.lora_alpha = whole(config.lora_alpha * (2**0.5 if config.use_rslora else 2))
    config.r = 2 * config.r
    return config, trained


def origin_state(network: nn.Module) -> dict[str, Tensor]:
    """Return the frozen factors by name: a resumed run must not depend on computing them again to the same bit."""
    return {name: parameter.detach() for name, parameter in _origin(network).items()}


@torch.no_grad()
def restore_origin(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy the frozen factors back."""
    parameters = _origin(network)
    for name, tensor in state.items():
        parameters[name].copy_(tensor)


def _origin(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in network.named_parameters() if f".{ORIGIN}." in name}


def _layers(network: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    for path, module in network.named_modules():
        if isinstance(module, LoraLayer):
            yield path, module


def _weight(layer: LoraLayer) -> Tensor:
    """Return the base weight in fp32, `[out_features, in_features]`."""
    base = layer.get_base_layer()
    weight: Tensor = dequantize(base).weight if is_4bit(base) else base.weight
    return (weight.T if layer.fan_in_fan_out else weight).detach().float()


def _factors(weight: Tensor, *, rank: int, scaling: float, init: str) -> tuple[Tensor, Tensor]:
    """Return A `[rank, in]` and B `[out, rank]`.

    PiSSA: `scaling * B @ A` is the best approximation of the weight at that rank, shared evenly by A and B. OLoRA: B
    is orthonormal and `B @ A` is the head of the weight's QR decomposition.
    """
    if init == "olora":
        q, r = torch.linalg.qr(weight)
        return r[:rank].contiguous(), q[:, :rank].contiguous()
    u, s, vh = _leading(weight, rank)
    root = (s / scaling).sqrt()
    return (root[:, None] * vh).contiguous(), (u * root).contiguous()


def _leading(weight: Tensor, rank: int, *, rounds: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Return the `rank` leading singular vectors and values of `weight`, by subspace iteration.

    A full decomposition of every layer took 30 s for 135M parameters at rank 16, this 6 s; and as the factors are
    subtracted again, an inexact one changes no answer.
    Source: Halko, Martinsson & Tropp 2011 (arXiv 0909.4061) algorithm 4.4.
    """
    width = min(rank + 16, *weight.shape)
    probe = torch.randn(weight.shape[1], width, generator=torch.Generator().manual_seed(0)).to(weight.device)
    for _ in range(rounds):
        left = torch.linalg.qr(weight @ probe).Q
        probe = torch.linalg.qr(weight.T @ left).Q
    left = torch.linalg.qr(weight @ probe).Q
    u, s, vh = torch.linalg.svd(left.T @ weight, full_matrices=False)
    return left @ u[:, :rank], s[:rank], vh[:rank]
