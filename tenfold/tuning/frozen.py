"""Tuning nothing of the network: its states stay what they were, and only the heads on them train."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from tenfold.models.quantized import Nf4
from tenfold.recipe.tuners import Frozen
from tenfold.tuning.defaults import TunerDefaults


class FrozenTuner(TunerDefaults):
    """Leaves every weight of the network as it is."""

    trains_base_weights = False
    loads_in_fp32 = False
    packs = True
    saves_peft = False
    quantization: Nf4 | None = None
    name = "frozen"

    def __init__(self, settings: Frozen) -> None:
        self.settings = settings

    def attach(self, network: nn.Module, *, total_updates: int = 1000) -> nn.Module:
        """Return the same network, frozen."""
        return network.requires_grad_(False)

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write nothing: the network is the base."""

    def load(self, network: nn.Module, folder: Path) -> nn.Module:
        """Return the network as it is."""
        return network.requires_grad_(False).eval()

    def merge(self, network: nn.Module) -> nn.Module:
        """Return the network as it is."""
        return network
