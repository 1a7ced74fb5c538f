"""What trains: the protocol that every way of tuning fulfils, and the table from a recipe's settings to one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from tenfold.models.quantized import Nf4
from tenfold.recipe.adapters import AdapterFusion, Bottleneck
from tenfold.recipe.tuner_settings import TunerSettings
from tenfold.recipe.tuners import Adalora, Frozen, Full, Lora, Partial
from tenfold.tuning.bottleneck import BottleneckTuner, FusionTuner
from tenfold.tuning.frozen import FrozenTuner
from tenfold.tuning.full import BaseWeightTuner


class Tuner(Protocol):
    """One way to choose what trains. `attach` comes first, once; all else takes the network it returned."""

    @property
    def settings(self) -> TunerSettings:
        """The recipe's section it was made from."""
        ...

    @property
    def name(self) -> str:
        """The recipe's `kind`, or PEFT's name of the method."""
        ...

    @property
    def trains_base_weights(self) -> bool:
        """Whether what is saved is a whole model, not an adapter beside one."""
        ...

    @property
    def loads_in_fp32(self) -> bool:
        """Whether the base is to be loaded in fp32, since all of it trains; what else trains `attach` casts itself."""
        ...

    @property
    def packs(self) -> bool:
        """Whether rows may be laid end to end; methods that prepend tokens need one row per line of the batch."""
        ...

    @property
    def saves_peft(self) -> bool:
        """Whether `save` writes a plain PEFT folder, which opens without this package."""
        ...

    @property
    def starts_from(self) -> str:
        """The hash of the files of earlier runs that training starts from, which settings only name; else empty."""
        ...

    @property
    def acting(self) -> object:
        """What acts, of the several things that the network may hold by name, as plain JSON values; else None."""
        ...

    def joins(self, before: object) -> bool:
        """Return whether `attach` may follow that of the tuner `before` on one network, which keeps what both train."""
        ...

    @property
    def quantization(self) -> Nf4 | None:
        """The format that the base weights must be loaded in."""
        ...

    def attach(self, network: nn.Module, *, total_updates: int = 1000) -> nn.Module:
        """Return `network`, changed in place and perhaps wrapped, with exactly `trainable` requiring gradients.

        What trains is in fp32 from here on, whatever the base is in.
        """
        ...

    def trainable(self, network: nn.Module) -> dict[str, nn.Parameter]:
        """Return what trains, by name, always in the same order."""
        ...

    def parameter_groups(self, network: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
        """Return the groups for a torch optimizer, each with `params` and its own `lr`."""
        ...

    def penalty(self, network: nn.Module) -> Tensor | None:
        """Return a scalar to add to the loss once per update, or None."""
        ...

    def after_update(self, network: nn.Module, update: int, total_updates: int) -> None:
        """Called after the optimizer's step number `update` (from 1), while the gradients still exist."""
        ...

    def state(self, network: nn.Module) -> dict[str, Tensor]:
        """Return what must be kept beside `trainable` and the optimizer to go on bit for bit."""
        ...

    def restore(self, network: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` returned."""
        ...

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write what was trained into `folder`: a plain PEFT adapter, our own adapters, or a whole model."""
        ...

    def load(self, network: nn.Module, folder: Path) -> nn.Module:
        """Return a fresh base `network` with the weights that `save` wrote, frozen, for inference."""
        ...

    def merge(self, network: nn.Module) -> nn.Module:
        """Return a plain transformers model of the same function; `network` is used up."""
        ...


def make_tuner(settings: TunerSettings) -> Tuner:
    """Return the tuner that `settings` describe.

    Raises:
        RecipeError: the settings name a method that PEFT does not have, or one whose library is not installed.
    """
    if isinstance(settings, Full | Partial):
        return BaseWeightTuner(settings)
    if isinstance(settings, Frozen):
        return FrozenTuner(settings)
    if isinstance(settings, Bottleneck):
        return BottleneckTuner(settings)
    if isinstance(settings, AdapterFusion):
        return FusionTuner(settings)
    return _make_peft_tuner(settings)


def _make_peft_tuner(settings: TunerSettings) -> Tuner:
    # importing peft takes longer than all of Tenfold, and other tuners do without
    from tenfold.tuning.adalora import AdaloraTuner
    from tenfold.tuning.lora import LoraTuner
    from tenfold.tuning.peft_tuner import PeftTuner

    if isinstance(settings, Lora):
        return LoraTuner(settings)
    return AdaloraTuner(settings) if isinstance(settings, Adalora) else PeftTuner(settings)
