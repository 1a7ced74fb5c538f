"""Tuning with bottleneck adapters, and with AdapterFusion over several of them.

Both work on the network's `AdapterBank`. A technique may use several of these tuners on one loaded base, one after the
other: each `attach` adds what it trains if it is not there yet, activates it, and makes it alone trainable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from tenfold.errors import ModelError, Problem
from tenfold.files import sha256_text
from tenfold.models.quantized import Nf4, keep_trainable, require_bitsandbytes
from tenfold.recipe.adapters import AdapterFusion, Bottleneck
from tenfold.tuning.adapter_bank import AdapterBank, bank_of, open_bank
from tenfold.tuning.bank_files import borrow_adapter, hash_bank, restore_bank, write_bank
from tenfold.tuning.composition import Composition, Fuse, Stack, to_json
from tenfold.tuning.defaults import TunerDefaults

ADAPTER = "default"
"""The name of the adapter that a recipe of a single one trains."""


class BankTuner(TunerDefaults):
    """What the two ways have in common: the base never changes, the whole bank is saved, nothing merges."""

    trains_base_weights = False
    loads_in_fp32 = False
    packs = True
    saves_peft = False
    quantization: Nf4 | None = None
    name: str
    composition: Composition
    """What acts while it trains."""

    @property
    def acting(self) -> object:
        """The composition that acts while it trains."""
        return to_json(self.composition)

    def joins(self, before: object) -> bool:
        """Return whether `before` works on the network's bank too: then both keep what they train there."""
        return isinstance(before, BankTuner)

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write all adapters of the network, in the format that `tenfold/tuning/bank_files.py` describes."""
        write_bank(_bank(network), folder)

    def load(self, network: nn.Module, folder: Path) -> nn.Module:
        """Return a fresh base `network` with the saved adapters on it, frozen, for inference.

        Raises:
            ArtifactError: the folder is damaged, or its weights do not fit this network one by one.
        """
        restore_bank(network, folder)
        return network.requires_grad_(False).eval()

    def merge(self, network: nn.Module) -> nn.Module:
        """Raise: a bottleneck is no change of weights.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            Problem(
                where="tuner",
                found=f"{self.name} cannot be merged into the base weights: it is no linear function of its input",
                remedy="use the adapter as it is, or tune with a method that merges, such as lora",
            )
        )


class BottleneckTuner(BankTuner):
    """Trains one bottleneck adapter, named `adapter`, on the frozen base and on the frozen adapters below it.

    `on` names adapters that lie between those of the settings and this one: trained by this run before, or of
    `borrowed`, a name for each artifact of another run whose adapter shall be in the bank too.
    Source: Houlsby et al. 2019 (arXiv 1902.00751); Pfeiffer et al. 2020 (arXiv 2007.07779) for one a block; He et al.
    2022 (arXiv 2110.04366) for parallel ones. Departure: in BERT, Pfeiffer et al.'s adapter reads the normed sum that
    follows the feed-forward layer. A model that norms before its sub-layers has no such place, so here every
    sequential adapter reads the sub-layer's own output, as Houlsby et al.'s do.
    """

    def __init__(
        self,
        settings: Bottleneck,
        *,
        adapter: str = ADAPTER,
        on: Sequence[str] = (),
        borrowed: Mapping[str, str] | None = None,
    ) -> None:
        self.settings = settings
        self.adapter = adapter
        self.name = settings.kind
        self.borrowed = {**dict(zip(settings.names_below, settings.below, strict=True)), **(borrowed or {})}
        below = (*settings.names_below, *on)
        self.composition = Stack(*below, adapter) if below else adapter
        if settings.quantized_base:
            require_bitsandbytes()
            self.quantization = Nf4()

    @property
    def starts_from(self) -> str:
        """The hash of the adapters that come from files, if there are any."""
        hashes = [hash_bank(Path(folder)) for folder in self.borrowed.values()]
        return sha256_text(*hashes) if hashes else ""

    def attach(self, network: nn.Module, *, total_updates: int = 1000) -> nn.Module:
        """Return `network` with the adapter active and alone trainable; added first where it is not there yet.

        Raises:
            ModelError: the architecture's blocks are not known, `drop_layers` or names do not fit, or an adapter of
                this name has other settings.
            ArtifactError: an adapter of another run cannot be read, or belongs to another base.
        """
        keep_trainable(network)
        for name, folder in self.borrowed.items():
            borrow_adapter(network, Path(folder), name=name)
        bank = open_bank(network)
        if self.adapter not in bank.settings:
            bank.add(self.adapter, self.settings)
        elif bank.settings[self.adapter].resolved != self.settings.resolved:
            found = f"there is an adapter {self.adapter!r} with other settings already"
            raise ModelError(Problem("tuner", found, remedy="keep its settings, or give this one another name"))
        bank.activate(self.composition)
        return _train_only(network, bank.parameters_of(self.adapter))


class FusionTuner(BankTuner):
    """Trains an attention over the outputs of several adapters, which stay as they are.

    Source: Pfeiffer et al. 2021 (arXiv 2005.00247), section 3.
    """

    def __init__(self, settings: AdapterFusion) -> None:
        self.settings = settings
        self.name = settings.kind
        self.fuse = Fuse(*settings.adapters)
        self.composition = self.fuse

    @property
    def starts_from(self) -> str:
        """The hash of the adapters that come from files."""
        return sha256_text(*(hash_bank(Path(folder)) for folder in self.settings.adapters.values() if folder))

    def attach(self, network: nn.Module, *, total_updates: int = 1000) -> nn.Module:
        """Return `network` with the fusion active and alone trainable; added first where it is not there yet.

        Raises:
            ModelError: the architecture's blocks are not known, or an adapter was to be there already and is not.
            ArtifactError: an adapter cannot be read, or belongs to another base.
        """
        bank = open_bank(network)
        for name, folder in self.settings.adapters.items():
            if folder is not None:
                borrow_adapter(network, Path(folder), name=name)
        if self.fuse.key not in bank.fused:
            bank.add_fusion(self.fuse)
        bank.activate(self.fuse)
        return _train_only(network, bank.parameters_of(self.fuse.key))

    def penalty(self, network: nn.Module) -> Tensor | None:
        """Return the weighted squared distance of the value matrices from the identity, as the authors' code has it."""
        if self.settings.regularization == 0.0:
            return None
        total = sum(layer.distance() for layer in _bank(network).fusion_layers(self.fuse))
        assert isinstance(total, Tensor), "a fusion stands at one place at least"
        return self.settings.regularization * total


def _bank(network: nn.Module) -> AdapterBank:
    bank = bank_of(network)
    assert bank is not None, "attach comes first"
    return bank


def _train_only(network: nn.Module, parameters: list[nn.Parameter]) -> nn.Module:
    network.requires_grad_(False)
    for parameter in parameters:
        parameter.requires_grad_(True)
    return network
