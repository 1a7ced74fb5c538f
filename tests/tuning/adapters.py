"""Networks with random bottleneck adapters, for the tests of everything about those."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from tenfold.recipe.adapters import Bottleneck
from tenfold.tuning.adapter_bank import AdapterBank, open_bank

STYLES = ("houlsby", "pfeiffer", "parallel")
PFEIFFER = Bottleneck(style="pfeiffer", reduction=4)


def bank_with(network: nn.Module, *names: str, settings: Bottleneck = PFEIFFER) -> AdapterBank:
    """Return the network's bank with adapters of these names, their weights random and each other's."""
    bank = open_bank(network)
    for number, name in enumerate(names):
        bank.add(name, settings)
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for parameter in bank.parameters_of(name):
                parameter.normal_(std=0.3, generator=generator)
    return bank


def resting_on(settings: Bottleneck, *folders: Path) -> Bottleneck:
    return settings.model_copy(update={"below": tuple(map(str, folders))})
