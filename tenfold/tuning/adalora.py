"""Tuning with AdaLoRA: LoRA in the form of a singular value decomposition, pruned while it trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import peft
import torch
from peft.tuners.adalora import AdaLoraModel, RankAllocator
from torch import Tensor, nn

from tenfold.recipe.tuners import Adalora
from tenfold.tuning.adapter_files import adapter_state, write_adapter
from tenfold.tuning.peft_tuner import PeftTuner

_AVERAGES = ("ipt", "exp_avg_ipt", "exp_avg_unc")
_KEPT = "rank_pattern"


class AdaloraTuner(PeftTuner):
    """Trains P, Λ and Q of an update PΛQ per layer and prunes the least important singular values.

    Source: Zhang et al. 2023 (arXiv 2303.10512). PEFT's implementation, driven by the engine's updates: full budget
    for the first tenth of them, pruned down to the target until two thirds, then fixed.
    """

    settings: Adalora

    def attach(self, network: nn.Module, *, total_updates: int = 1000) -> nn.Module:
        """Return `network` wrapped by PEFT, to be pruned in the course of `total_updates`.

        Raises:
            ModelError: a target module does not exist.
            RecipeError: PEFT does not accept the options for this model.
        """
        wrapped = super().attach(network, total_updates=total_updates)
        for name, parameter in wrapped.named_parameters():
            if ".ranknum." in name:
                # a constant, which PEFT makes trainable over a bf16 base by casting it, and never saves
                parameter.data = parameter.data.float()
                parameter.requires_grad_(False)
        return wrapped

    def penalty(self, network: nn.Module) -> Tensor | None:
        """Return the orthogonality penalty, as PEFT adds it to a loss that it sees itself.

        It is the mean over all P and Q of the Frobenius norm of `P P^T - I` (equation 4 has its square), weighted.
        """
        norms = [
            torch.linalg.matrix_norm(gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device))
            for gram in _grams(network)
        ]
        return self.settings.orthogonality * torch.stack(norms).mean()

    def after_update(self, network: nn.Module, update: int, total_updates: int) -> None:
        """Measure importance from the update's gradients, and prune when it is time."""
        _adapter(network).update_and_allocate(update)

    def state(self, network: nn.Module) -> dict[str, Tensor]:
        """Return the running averages of importance and which singular values are kept."""
        model = _adapter(network)
        allocator: RankAllocator = model.rankallocator
        state = {
            f"{average}|{name}": value for average in _AVERAGES for name, value in vars(allocator)[average].items()
        }
        pattern = model.peft_config["default"].rank_pattern or {}
        return state | {f"{_KEPT}|{name}": torch.tensor(kept) for name, kept in pattern.items()}

    def restore(self, network: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Put the averages and the kept singular values back."""
        model = _adapter(network)
        model.rankallocator.reset_ipt()
        pattern: dict[str, list[bool]] = {}
        for key, value in state.items():
            kind, _, name = key.partition("|")
            if kind == _KEPT:
                pattern[name] = value.tolist()
            else:
                vars(model.rankallocator)[kind][name] = value.clone()
        model.peft_config["default"].rank_pattern = pattern or None

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write a plain PEFT folder that holds the initial rank, pruned singular values as zeros.

        With the pattern of kept ones PEFT would cut the tensors; between two prunings that drops values which have
        moved since, and the saved adapter would not be the trained one.
        """
        assert isinstance(network, peft.PeftModel)
        config = network.active_peft_config
        pattern, config.rank_pattern = config.rank_pattern, None
        try:
            write_adapter(folder, config, adapter_state(network))
        finally:
            config.rank_pattern = pattern


def _adapter(network: nn.Module) -> AdaLoraModel:
    assert isinstance(network, peft.PeftModel)
    return network.base_model


def _grams(network: nn.Module) -> Iterator[Tensor]:
    """Yield `Q Q^T` (PEFT's lora_A, `[rank, in]`) and `P^T P` (lora_B, `[out, rank]`) of every layer."""
    for name, parameter in network.named_parameters():
        if ".lora_A." in name:
            yield parameter @ parameter.T
        elif ".lora_B." in name:
            yield parameter.T @ parameter
