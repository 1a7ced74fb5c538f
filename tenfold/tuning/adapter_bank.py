"""The bottleneck adapters of one network: any number of them, by name, of which a composition is active.

They are a module of ours beside the network's own (`network.adapter_bank`), and reach into the computation through
forward hooks on the sub-layers that `tenfold/models/layout.py` names, while some of them act. So every module of the
base keeps its place, name and type, adapters come and go while the base stays loaded, what computes while none acts is
the base, and `detach_bank` leaves nothing behind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tenfold.errors import ModelError, Problem, nearest
from tenfold.models.layout import find_blocks, hidden_size
from tenfold.recipe.adapters import Bottleneck
from tenfold.tuning.bottleneck_layers import BottleneckLayer, FusionLayer
from tenfold.tuning.composition import Composition, Fuse, Stack, fusions_in, names_in

ATTRIBUTE = "adapter_bank"

SITES = {"houlsby": ("attention", "feed_forward"), "pfeiffer": ("feed_forward",), "parallel": ("feed_forward",)}
"""The sub-layers of a block that have an adapter, by style."""


@dataclass(frozen=True)
class Place:
    """A sub-layer of a block: `name` is the path with strokes, such as `layers/0/attention`."""

    name: str
    block: int
    taken: nn.Module
    """Takes the sub-layer's input; only the feed-forward's is ever read."""
    given: nn.Module
    """Gives the sub-layer's output."""


class AdapterBank(nn.Module):
    """Named adapters and fusions over one network, and the composition of them that is active (None: none is).

    Parameters are called `bottlenecks.<adapter>/<place>.down.weight` and `fusions.<a>+<b>/<place>.query.weight`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.hidden = hidden_size(network)
        self.device = next(network.parameters()).device
        self.places = list(_places(network))
        self.num_blocks = 1 + self.places[-1].block
        self.settings: dict[str, Bottleneck] = {}
        self.origins: dict[str, str] = {}
        """Where an adapter was read from, if from a file."""
        self.bottlenecks = nn.ModuleDict()
        self.fusions = nn.ModuleDict()
        self.fused: dict[str, Fuse] = {}
        """The fusions that were added, by key."""
        self.active: Composition | None = None
        self.left_out: frozenset[int] = frozenset()
        self._reads_inputs = False
        self._handles: list[RemovableHandle] = []
        self._inputs: dict[str, Tensor] = {}

    def add(self, name: str, settings: Bottleneck) -> None:
        """Add an untrained adapter; it changes no answer before it is active and trained.

        Raises:
            ModelError: the name is taken, or `drop_layers` names no block of this network or all of them.
        """
        if not re.fullmatch(r"[\w-]+", name):
            raise ModelError(Problem("tuner", f"{name!r} is no name for an adapter", "letters, digits, _ and -"))
        if name in self.settings:
            raise ModelError(Problem("tuner", f"there is an adapter {name!r} already", remedy="choose another name"))
        self._require_blocks(settings.drop_layers)
        self.settings[name] = settings
        for place in self.places:
            site = place.name.rpartition("/")[2]
            if site in SITES[settings.style] and place.block not in settings.drop_layers:
                # drawn on the CPU, so that every device starts with the same numbers
                layer = BottleneckLayer(self.hidden, settings).to(self.device)
                self.bottlenecks[f"{name}/{place.name}"] = layer.train(self.training)
        self._hook()

    def add_fusion(self, fuse: Fuse) -> None:
        """Add an untrained fusion wherever two or more of its adapters stand; one alone passes as it is.

        Raises:
            ModelError: one of its adapters does not exist, or no two of them stand anywhere together.
        """
        self._require_names(fuse.names)
        shared = [
            place.name
            for place in self.places
            if sum(f"{name}/{place.name}" in self.bottlenecks for name in fuse.names) > 1
        ]
        if not shared:
            raise ModelError(Problem("tuner.adapters", f"{' and '.join(fuse.names)} have no place in common"))
        self.fused[fuse.key] = fuse
        for place in shared:
            self.fusions[f"{fuse.key}/{place}"] = FusionLayer(self.hidden).to(self.device)

    def remove(self, name: str) -> None:
        """Remove an adapter, and the fusions it is part of; the active composition may not hold it.

        Raises:
            ModelError: there is no such adapter, or it is active.
        """
        self._require_names((name,))
        if name in names_in(self.active):
            raise ModelError(Problem("tuner", f"the adapter {name!r} is active", remedy="activate another first"))
        del self.settings[name]
        self.origins.pop(name, None)
        gone = [fuse.key for fuse in self.fused.values() if name in fuse.names]
        self.fused = {key: fuse for key, fuse in self.fused.items() if key not in gone}
        for modules, parts in ((self.bottlenecks, [name]), (self.fusions, gone)):
            for key in [key for key in modules if key.partition("/")[0] in parts]:
                del modules[key]

    def activate(self, composition: Composition | None, *, without: Iterable[int] = ()) -> None:
        """Let `composition` act from here on, except in the blocks `without`; None gives the bare base.

        Leaving out the first blocks of a trained adapter is AdapterDrop (Rücklé et al. 2021, arXiv 2010.11918).

        Raises:
            ModelError: an adapter, fusion or block does not exist, or a parallel adapter is stacked.
        """
        self._require_names(names_in(composition))
        without = frozenset(without)
        self._require_blocks(without)
        for fuse in fusions_in(composition):
            if fuse.key not in self.fused:
                raise ModelError(self._without_fusion(fuse))
        if isinstance(composition, Stack):
            for name in names_in(composition):
                if self.settings[name].style == "parallel":
                    found = f"{name!r} is a parallel adapter, which reads nothing of an adapter below it"
                    raise ModelError(Problem("tuner.below", found, remedy="stack houlsby or pfeiffer adapters"))
        self.active, self.left_out = composition, without
        self._hook()
        self._reads_inputs = any(self.settings[name].style == "parallel" for name in names_in(composition))

    def parameters_of(self, part: str) -> list[nn.Parameter]:
        """Return the parameters of the adapter, or of the fusion with the key, `part`."""
        return [
            parameter
            for modules in (self.bottlenecks, self.fusions)
            for key, module in modules.items()
            if key.partition("/")[0] == part
            for parameter in module.parameters()
        ]

    def fusion_layers(self, fuse: Fuse) -> list[FusionLayer]:
        """Return the fusion's layers in the order of computation."""
        found = [layer for key, layer in self.fusions.items() if key.partition("/")[0] == fuse.key]
        return [layer for layer in found if isinstance(layer, FusionLayer)]

    def unhook(self) -> None:
        """Take every hook off the network."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _hook(self) -> None:
        """Reach into the network where an adapter may act, and nowhere while none does: it then computes as it came."""
        self.unhook()
        taken = {key.partition("/")[2] for key in self.bottlenecks}
        for place in self.places if self.active is not None else ():
            if place.name in taken:
                before, after = partial(self._before, place=place), partial(self._after, place=place)
                self._handles.append(place.taken.register_forward_pre_hook(before, with_kwargs=True))
                self._handles.append(place.given.register_forward_hook(after))

    def _before(self, module: nn.Module, inputs: tuple[object, ...], named: dict[str, object], *, place: Place) -> None:
        if self._reads_inputs:
            states = (*inputs, *named.values())[0]
            assert isinstance(states, Tensor), "a feed-forward layer takes hidden states"
            self._inputs[place.name] = states

    def _after(self, module: nn.Module, inputs: object, output: Tensor, *, place: Place) -> Tensor:
        taken = self._inputs.pop(place.name, None)
        if self.active is None or place.block in self.left_out:
            return output
        update = self._update(self.active, place, output, taken)
        return output if update is None else output + update

    def _update(self, composition: Composition, place: Place, states: Tensor, taken: Tensor | None) -> Tensor | None:
        """Return what `composition` adds at `place`, or None where it has nothing there."""
        if isinstance(composition, Stack):
            # MAD-X, equations 1 and 2: each reads what the one below made, and all add to the sub-layer's own output
            update, read = None, states
            for part in composition.parts:
                above = self._update(part, place, read, taken)
                if above is not None:
                    update, read = above, states + above
            return update
        if isinstance(composition, Fuse):
            found = [self._update(name, place, states, taken) for name in composition.names]
            updates = [update for update in found if update is not None]
            if len(updates) < 2:
                return updates[0] if updates else None
            fused: Tensor = self.fusions[f"{composition.key}/{place.name}"](states, torch.stack(updates, dim=-2))
            return fused
        key = f"{composition}/{place.name}"
        if key not in self.bottlenecks:
            return None
        parallel = self.settings[composition].style == "parallel"
        result: Tensor = self.bottlenecks[key](taken if parallel else states)
        return result

    def _require_names(self, names: Iterable[str]) -> None:
        problems = [
            Problem(
                where="tuner",
                found=f"there is no adapter {name!r}",
                allowed=", ".join(self.settings) or "none has been added",
                remedy=nearest(name, self.settings),
            )
            for name in names
            if name not in self.settings
        ]
        if problems:
            raise ModelError(*problems)

    def _without_fusion(self, fuse: Fuse) -> Problem:
        known = ", ".join(self.fused) or "no fusion was trained"
        remedy = nearest(fuse.key, self.fused) or "train one (technique adapters, fuse), or name one adapter alone"
        return Problem("tuner", f"there is no fusion of {' and '.join(fuse.names)}", known, remedy)

    def _require_blocks(self, numbers: Iterable[int]) -> None:
        numbers = set(numbers)
        unknown = sorted(numbers - set(range(self.num_blocks)))
        if unknown or len(numbers) == self.num_blocks:
            found = f"there is no block {unknown[0]}" if unknown else "no block is left with an adapter"
            raise ModelError(
                Problem("tuner.drop_layers", found, allowed=f"some, not all, of 0 to {self.num_blocks - 1}")
            )


def bank_of(network: nn.Module) -> AdapterBank | None:
    """Return the network's adapters, if it has any."""
    bank = dict(network.named_children()).get(ATTRIBUTE)
    return bank if isinstance(bank, AdapterBank) else None


def open_bank(network: nn.Module) -> AdapterBank:
    """Return the network's adapters; a network without any gets an empty bank.

    Raises:
        ModelError: where the blocks of this architecture are is not known.
    """
    bank = bank_of(network)
    if bank is None:
        bank = AdapterBank(network).train(network.training)
        network.add_module(ATTRIBUTE, bank)
    return bank


def detach_bank(network: nn.Module) -> None:
    """Take every adapter off the network, which is then what it was before the first one."""
    bank = bank_of(network)
    if bank is not None:
        bank.unhook()
        delattr(network, ATTRIBUTE)


def _places(network: nn.Module) -> Iterator[Place]:
    for number, block in enumerate(find_blocks(network)):
        path = block.path.replace(".", "/")
        yield Place(f"{path}/attention", number, block.attention, block.attention)
        yield Place(f"{path}/feed_forward", number, block.feed_forward_input, block.feed_forward)
