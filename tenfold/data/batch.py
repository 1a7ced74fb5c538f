"""What the engine trains on: packed batches, and the window of batches that makes one update.

Shape letters: T tokens in a packed batch, N rows (segments) in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

IGNORED = -100
"""The target of a position outside the loss; the value torch's cross entropy ignores too."""


class Entry(NamedTuple):
    """One row as tokens: what a batch is packed from."""

    row: int
    """Its number in its table."""
    input_ids: list[int]
    supervised: list[bool]
    """Whether that token itself is in the loss."""


@dataclass(frozen=True)
class Batch:
    """Rows laid end to end without padding; attention never crosses a row's border.

    `targets[t]` is the token that position t must predict (the next one of the same row), or `IGNORED`.
    """

    input_ids: Tensor  # [T] int64
    targets: Tensor  # [T] int64
    cu_seqlens: Tensor  # [N + 1] int32: row n is tokens cu_seqlens[n] to cu_seqlens[n + 1]
    rows: tuple[int, ...]  # the rows' numbers in their table, for messages
    task: str = "main"

    @property
    def lengths(self) -> list[int]:
        """Tokens in each row."""
        borders: list[int] = self.cu_seqlens.tolist()
        return [end - start for start, end in pairwise(borders)]

    @property
    def positions(self) -> Tensor:
        """Each token's place within its own row, [T] int64."""
        return torch.cat([torch.arange(length) for length in self.lengths]).to(self.input_ids.device)

    @property
    def num_supervised(self) -> int:
        """How many positions are in the loss."""
        return int((self.targets != IGNORED).sum())

    def to(self, device: torch.device) -> Batch:
        """Return the same batch with `input_ids` and `targets` on `device` (borders stay on the CPU)."""
        return replace(self, input_ids=self.input_ids.to(device), targets=self.targets.to(device))


def pack(rows: Sequence[Entry | tuple[int, list[int], list[bool]]], *, task: str = "main") -> Batch:
    """Lay rows end to end, for language modelling.

    `supervised[t]` says that token t itself is in the loss, so position t - 1 gets it as its target.
    A row's first token has nothing before it and can never be supervised.
    """
    ids: list[int] = []
    targets: list[int] = []
    borders = [0]
    for _, input_ids, supervised in rows:
        ids += input_ids
        targets += [token if in_loss else IGNORED for token, in_loss in zip(input_ids[1:], supervised[1:], strict=True)]
        targets.append(IGNORED)
        borders.append(len(ids))
    return Batch(
        input_ids=torch.tensor(ids, dtype=torch.int64),
        targets=torch.tensor(targets, dtype=torch.int64),
        cu_seqlens=torch.tensor(borders, dtype=torch.int32),
        rows=tuple(number for number, _, _ in rows),
        task=task,
    )


@dataclass(frozen=True)
class Window:
    """The micro-batches of one optimizer update; their split changes memory and speed, never the update."""

    batches: tuple[Batch, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """The numbers of all rows in the update."""
        return tuple(row for batch in self.batches for row in batch.rows)

    @property
    def num_tokens(self) -> int:
        """Tokens processed, supervised or not; there is no padding to leave out."""
        return sum(len(batch.input_ids) for batch in self.batches)
