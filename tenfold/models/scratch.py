"""A model that has forgotten everything: the same architecture with random weights, as its training began."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel


def forget(network: nn.Module) -> None:
    """Give every weight of `network`, a transformers model, its architecture's random start from torch's generator."""
    assert isinstance(network, PreTrainedModel), "only a transformers model says how its weights begin"
    if next(network.parameters()).device.type != "meta":
        network.load_state_dict(type(network)(network.config).state_dict())
