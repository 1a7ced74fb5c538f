"""Which of a model's states are a row's features: a layer (or several), pooled over the row's tokens in some way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from tenfold.data.batch import Batch
from tenfold.errors import ModelError, Problem
from tenfold.models.heads import Pooling, pool
from tenfold.models.trunk import Trunk

Layer = int | Literal["average"]
"""A layer as transformers counts `hidden_states` (0: before the first block, -1: after the last one), or the mean of
all of them."""


@dataclass(frozen=True)
class Part:
    """One layer in one pooling: what is stored of a row, H numbers."""

    layer: Layer
    pooling: Pooling

    @property
    def name(self) -> str:
        """The part's name in files."""
        return f"{self.layer}.{self.pooling}"


@dataclass(frozen=True)
class View:
    """What an estimator sees of a row: one layer, or several end to end, in one pooling."""

    layers: tuple[Layer, ...]
    pooling: Pooling

    @property
    def name(self) -> str:
        """The view for people to read."""
        return f"layer {' + '.join(map(str, self.layers))}, {self.pooling.replace('_', ' ')}"

    @property
    def parts(self) -> tuple[Part, ...]:
        """What it is put together from."""
        return tuple(Part(layer, self.pooling) for layer in self.layers)


def parts_of(views: Iterable[View]) -> tuple[Part, ...]:
    """Return the parts of all `views`, each once."""
    return tuple(dict.fromkeys(part for view in views for part in view.parts))


def settled(views: Sequence[View], num_layers: int) -> tuple[View, ...]:
    """Return `views` with layers counted from the front, in a model that has `num_layers` of them.

    Raises:
        ModelError: it has no such layer.
    """
    problems = []
    found = []
    for view in views:
        layers: list[Layer] = []
        for layer in view.layers:
            if layer != "average" and not -num_layers <= layer < num_layers:
                allowed = f"{-num_layers} to {num_layers - 1}, or average (0 is what goes into the first block)"
                problems.append(Problem("technique.layers", f"the model has no layer {layer}", allowed))
            layers.append(layer if layer == "average" else layer % num_layers)
        found.append(View(tuple(layers), view.pooling))
    if problems:
        raise ModelError(*dict.fromkeys(problems))
    return tuple(dict.fromkeys(found))


@torch.no_grad()
def read_parts(model: Trunk, batch: Batch, parts: Sequence[Part]) -> dict[Part, Tensor]:
    """Return each of `parts` for the batch's rows, [N, H] in fp32 on the CPU, from one pass; layers are settled."""
    last = model.num_layers - 1
    if all(part.layer == last for part in parts):
        states = {last: model.hidden(batch)}
    else:
        states = dict(enumerate(model.layers(batch)))
    pooled = {}
    for part in parts:
        if part.layer == "average":
            each = [pool(layer, batch, part.pooling).float() for layer in states.values()]
            pooled[part] = torch.stack(each).mean(0).cpu()
        else:
            pooled[part] = pool(states[part.layer], batch, part.pooling).float().cpu()
    return pooled
