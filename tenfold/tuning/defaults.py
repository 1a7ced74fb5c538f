"""What most ways of tuning do alike: everything that requires gradients trains, and nothing else is kept or added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class TunerDefaults:
    """The part of the `Tuner` protocol that a way of tuning overrides only where it needs to."""

    @property
    def starts_from(self) -> str:
        """Nothing: the settings alone say what is trained."""
        return ""

    @property
    def acting(self) -> object:
        """None: the network holds nothing to choose from."""
        return None

    def joins(self, before: object) -> bool:
        """Return False: what another tuner has trained is merged into the base first."""
        return False

    def trainable(self, network: nn.Module) -> dict[str, nn.Parameter]:
        """Return what trains, by name, in the network's own order."""
        return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}

    def parameter_groups(self, network: nn.Module, learning_rate: float) -> list[dict[str, Any]]:
        """Return one group with everything in it."""
        return [{"params": list(self.trainable(network).values()), "lr": learning_rate}]

    def penalty(self, network: nn.Module) -> Tensor | None:
        """Return None: nothing is added to the loss."""
        return None

    def after_update(self, network: nn.Module, update: int, total_updates: int) -> None:
        """Do nothing."""

    def state(self, network: nn.Module) -> dict[str, Tensor]:
        """Return nothing: what is kept beside the trained weights, if anything, follows from the seed."""
        return {}

    def restore(self, network: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Do nothing."""
