"""What a model has at a batch's supervised positions, for losses that need more than its summed cross entropy.

Shape letters: T tokens in a batch, S supervised positions, N rows, L longest row, H hidden, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tenfold.data.batch import IGNORED, Batch, moved
from tenfold.models.blocks import capturing
from tenfold.models.compact import compacted, whole
from tenfold.models.language_model import Head, LanguageModel


@dataclass(frozen=True)
class Outputs:
    """What a model answers at S supervised positions, in batch order."""

    states: Tensor  # [S, H] to be given to `head`, or where that is None logits [S, V]
    targets: Tensor  # [S]
    head: Head | None
    blocks: tuple[Tensor, ...]  # [S, H] after each block that was asked for


def outputs(model: LanguageModel, batch: Batch, *, blocks: Sequence[int] = ()) -> Outputs:
    """Return final states, targets and the output layer, and the states after each of `blocks` (from 0).

    What comes after the last block and before the output layer (a norm) is not in the states of that block.
    """
    route = model.route
    model.route = replace(route, fuses=route.fuses and not blocks)  # fused, no block is called by itself
    try:
        with capturing(model.base, blocks) as caught:
            states, targets = model.supervised(batch)
    finally:
        model.route = route
    return Outputs(states, targets, model.head(), tuple(_at_supervised(model, each, batch) for each in caught))


def _at_supervised(model: LanguageModel, states: Tensor, batch: Batch) -> Tensor:
    """Return `states` `[1, T, H]` or `[N, L, H]`, as the batch went through the network, as `[S, H]`."""
    if model.route.packs:
        places = (compacted(batch) if model.route.compacts else whole(batch)).supervised
        return states[0, moved(places, model.device)]
    longest = max(batch.lengths)
    rows = zip(states[:, -longest:], batch.targets.split(batch.lengths), strict=True)
    return torch.cat([row[: len(targets)][targets != IGNORED] for row, targets in rows])
