"""Which tokens of a batch must be computed: what rows begin with alike once, and nothing after their last target.

With causal attention a token's hidden state depends on the tokens before it alone. So where rows begin with the same
tokens (a system prompt, an instruction, a few examples) one computation serves them all, its gradient the sum of
theirs; and what stands after a row's last supervised position can change no loss. Losses and gradients stay what they
were. Beginnings are shared up to the first token in the loss: a state that several losses use would sum their
gradients in an order that threads decide, and two runs would differ in the last bit.

Source: Liu et al. 2025, "Prefix Grouper" (arXiv 2506.05433), for the shared beginning.

Shape letters: T tokens of the batch, C tokens that are left, N rows, S supervised positions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tenfold.data.batch import IGNORED, Batch, moved


@dataclass(frozen=True)
class CompactBatch:
    """A batch as the network sees it; rows begin with `key_lengths - own lengths` tokens of the first row."""

    input_ids: Tensor  # [C]
    positions: Tensor  # [C]
    cu_seqlens: Tensor  # [N + 1] int32, a row's own tokens
    cu_seqlens_keys: Tensor  # [N + 1] int32, those it shares with the first row included
    supervised: Tensor  # [S], places among the C tokens, in batch order
    targets: Tensor  # [S]

    def to(self, device: torch.device) -> CompactBatch:
        """Return the same batch with all but the borders on `device` (they stay on the CPU)."""
        names = ("input_ids", "positions", "supervised", "targets")
        return replace(self, **{name: moved(getattr(self, name), device) for name in names})


def whole(batch: Batch) -> CompactBatch:
    """Return the batch with every token in it."""
    supervised = (batch.targets != IGNORED).nonzero()[:, 0]
    targets = batch.targets[supervised]
    return CompactBatch(batch.input_ids, batch.positions, batch.cu_seqlens, batch.cu_seqlens, supervised, targets)


def compacted(batch: Batch) -> CompactBatch:
    """Return the batch without repeated beginnings, ends out of the loss, and rows without a target."""
    lengths = batch.lengths
    first: Tensor | None = None
    ids, positions, supervised = [], [], []
    own_lengths, key_lengths = [0], [0]
    for row, targets in zip(batch.input_ids.split(lengths), batch.targets.split(lengths), strict=True):
        places = (targets != IGNORED).nonzero()[:, 0]
        if len(places) == 0:
            continue
        row = row[: int(places[-1]) + 1]
        shared = 0 if first is None else min(_alike(first, row), int(places[0]))
        offset = sum(own_lengths) - shared
        first = row if first is None else first
        ids.append(row[shared:])
        positions.append(torch.arange(shared, len(row), device=row.device))
        supervised.append(places + offset)
        own_lengths.append(len(row) - shared)
        key_lengths.append(len(row))
    if first is None:
        return whole(batch)
    return CompactBatch(
        input_ids=torch.cat(ids),
        positions=torch.cat(positions),
        cu_seqlens=_borders(own_lengths),
        cu_seqlens_keys=_borders(key_lengths),
        supervised=torch.cat(supervised),
        targets=batch.targets[batch.targets != IGNORED],
    )


def _alike(first: Tensor, row: Tensor) -> int:
    """Return how many tokens both begin with alike."""
    size = min(len(first), len(row))
    return int((first[:size] == row[:size]).cumprod(0).sum())


def _borders(lengths: list[int]) -> Tensor:
    return torch.tensor(lengths).cumsum(0).to(torch.int32)
