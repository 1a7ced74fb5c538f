"""Tuning with LoRA and its relatives: rsLoRA, DoRA, PiSSA, OLoRA, LoRA+ and, over a 4-bit base, QLoRA."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import peft
from torch import Tensor, nn

from tenfold.models.quantized import Nf4, keep_trainable, require_bitsandbytes
from tenfold.recipe.tuners import Lora, Qlora
from tenfold.tuning import principal
from tenfold.tuning.adapter_files import write_adapter
from tenfold.tuning.peft_tuner import PeftTuner


class LoraTuner(PeftTuner):
    """Trains low-rank updates of linear layers.

    Source: Hu et al. 2021 (arXiv 2106.09685). LoRA+: Hayou et al. 2024 (arXiv 2402.12354), section 4.
    """

    settings: Lora

    def __init__(self, settings: Lora) -> None:
        super().__init__(settings)
        if isinstance(settings, Qlora):
            require_bitsandbytes()
            self.quantization = Nf4(doubled=settings.double_quantization)

    def attach(self, network: nn.Module, *, total_updates: int = 1000) -> nn.Module:
        """Return `network` wrapped by PEFT, each linear layer computed by the fused function where it applies.

        Raises:
            ModelError: a target module does not exist, or the 4-bit base can no longer be trained.
            RecipeError: PEFT does not accept the options for this model.
        """
        keep_trainable(network)
        wrapped = super().attach(network, total_updates=total_updates)
        if self._is_principal:
            assert isinstance(wrapped, peft.PeftModel)
            principal.start_from_base(wrapped, init=self.settings.init)
        return wrapped

    @property
    def _is_principal(self) -> bool:
        return self.settings.init in ("pissa", "olora")

    def parameter_groups(self, network: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
        """Return one group, or with LoRA+ a second one that holds every B at `plus_ratio` times the rate."""
        if self.settings.plus_ratio == 1.0:
            return super().parameter_groups(network, learning_rate)
        fast: list[nn.Parameter] = []
        slow: list[nn.Parameter] = []
        for name, parameter in self.trainable(network).items():
            is_b = ".lora_B." in name or ".lora_embedding_B." in name
            (fast if is_b else slow).append(parameter)
        return [
            {"params": slow, "lr": learning_rate},
            {"params": fast, "lr": learning_rate * self.settings.plus_ratio},
        ]

    def state(self, network: nn.Module) -> dict[str, Tensor]:
        """Return the frozen starting factors of PiSSA and OLoRA; nothing for the others."""
        return principal.origin_state(network) if self._is_principal else {}

    def restore(self, network: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Put the frozen starting factors back."""
        principal.restore_origin(network, state)

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write a plain PEFT folder; PiSSA and OLoRA as the plain LoRA of twice the rank that they are."""
        assert isinstance(network, peft.PeftModel)
        if principal.ORIGIN in network.peft_config:
            write_adapter(folder, *principal.as_plain_lora(network))
        else:
            super().save(network, folder)
