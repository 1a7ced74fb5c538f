"""What the engine trains on: packed batches, and the window of batches that makes one update.

Shape letters: T tokens in a packed batch, N rows (segments) in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

IGNORED = -100
"""The target of a position outside the loss; the value torch's cross entropy ignores too."""


LabelForm = Literal["class", "classes", "value", "tags", "span"]
"""What labels are: a row's class, all that apply to it, a number, a tag on each word, the two ends of an answer."""


class Source(Protocol):
    """What a model's encoder reads, for each row of a batch: tokens, or audio."""

    @property
    def lengths(self) -> Sequence[int]:
        """Positions of the encoder that each row takes."""
        ...

    @property
    def num_tokens(self) -> int:
        """Tokens of all rows; audio has none."""
        ...

    def read(self) -> Mapping[str, Tensor]:
        """Return the rows one a line under the names of the model's own inputs; audio is read from its files now."""
        ...


@dataclass(frozen=True)
class TokenSource:
    """Texts that an encoder reads."""

    rows: tuple[tuple[int, ...], ...]
    pad_id: int

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each row."""
        return [len(row) for row in self.rows]

    @property
    def num_tokens(self) -> int:
        """Tokens of all rows."""
        return sum(self.lengths)

    def read(self) -> Mapping[str, Tensor]:
        """Return the rows padded on the right: `input_ids` and `attention_mask`, both [N, L] int64."""
        longest = max(self.lengths)
        ids = [[*row, *[self.pad_id] * (longest - len(row))] for row in self.rows]
        mask = [[1] * len(row) + [0] * (longest - len(row)) for row in self.rows]
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}


class Entry(NamedTuple):
    """One row as tokens: what a batch is packed from."""

    row: int
    """Its number in its table."""
    input_ids: list[int]
    supervised: list[bool]
    """Whether that token itself is in the loss."""
    labels: Sequence[float] = ()
    """The row's label as numbers, where it has one (`LabelSpace`)."""
    source: Sequence[int] | str | None = None
    """What the encoder reads, where the model has one: tokens, or the path of an audio file."""
    source_length: int = 0
    """Positions of the encoder that `source` takes."""
    draw: tuple[int, int] = (0, 0)
    """Seed and epoch of what is drawn anew each time that the row is met: which of its tokens are masked."""

    @property
    def num_positions(self) -> int:
        """What the row takes of a micro-batch: its tokens, and the encoder's positions."""
        return len(self.input_ids) + self.source_length


@dataclass(frozen=True)
class Batch:
    """Rows laid end to end without padding; attention never crosses a row's border.

    `targets[t]` is the token that position t must predict (the next one of the same row; where words are masked, its
    own), or `IGNORED`. Where the model has an encoder beside a decoder, the tokens are the decoder's, and `source` is
    what the encoder reads.
    """

    input_ids: Tensor  # [T] int64
    targets: Tensor  # [T] int64
    cu_seqlens: Tensor  # [N + 1] int32: row n is tokens cu_seqlens[n] to cu_seqlens[n + 1]
    rows: tuple[int, ...]  # the rows' numbers in their table, for messages
    task: str = "main"
    labels: Tensor | None = None
    """What rows with labels teach: [N] int64 classes, [N, C] float 0 or 1, [N] float numbers, [T] int64 tags (`IGNORED`
    where a token has none), or [N, 2] int64, first and last token of the answer within its row."""
    source: Source | None = None

    @property
    def num_positions(self) -> int:
        """What the batch takes of memory: its tokens, and the encoder's positions."""
        return len(self.input_ids) + (sum(self.source.lengths) if self.source is not None else 0)

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
        """How many positions are in the loss of language modelling."""
        return int((self.targets != IGNORED).sum())

    def to(self, device: torch.device) -> Batch:
        """Return the same batch with all but the borders on `device` (they stay on the CPU)."""
        labels = None if self.labels is None else moved(self.labels, device)
        input_ids, targets = moved(self.input_ids, device), moved(self.targets, device)
        return replace(self, input_ids=input_ids, targets=targets, labels=labels)


def moved(values: Tensor, device: torch.device) -> Tensor:
    """Return `values` on `device`; a GPU gets them from pinned memory, so that nothing waits for its work at hand."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


@dataclass(frozen=True)
class SampledBatch(Batch):
    """Rows whose replies the model in training wrote itself: no target in it is known to be right."""


def pack(
    rows: Sequence[Entry | tuple[int, list[int], list[bool]]], *, task: str = "main", source: Source | None = None
) -> Batch:
    """Lay rows end to end, for language modelling.

    `supervised[t]` says that token t itself is in the loss, so position t - 1 gets it as its target.
    A row's first token has nothing before it and can never be supervised.
    """
    ids: list[int] = []
    targets: list[int] = []
    borders = [0]
    for _, input_ids, supervised, *_ in rows:
        ids += input_ids
        targets += [token if in_loss else IGNORED for token, in_loss in zip(input_ids[1:], supervised[1:], strict=True)]
        targets.append(IGNORED)
        borders.append(len(ids))
    return Batch(
        input_ids=torch.tensor(ids, dtype=torch.int64),
        targets=torch.tensor(targets, dtype=torch.int64),
        cu_seqlens=torch.tensor(borders, dtype=torch.int32),
        rows=tuple(row[0] for row in rows),
        task=task,
        source=source,
    )


def pack_labelled(rows: Sequence[Entry], *, form: LabelForm, task: str = "main") -> Batch:
    """Lay rows end to end, to learn their labels: no token is a target."""
    batch = pack([(row.row, row.input_ids, [False] * len(row.input_ids)) for row in rows], task=task)
    if form == "tags":
        return replace(batch, labels=torch.tensor([tag for row in rows for tag in row.labels]).long())
    labels = torch.tensor([list(row.labels) for row in rows], dtype=torch.float64)
    whole = labels.long() if form in ("class", "span") else labels.float()
    return replace(batch, labels=whole[:, 0] if form in ("class", "value") else whole)


def pack_masked(rows: Sequence[Entry], targets: Sequence[Sequence[int]], *, task: str = "main") -> Batch:
    """Lay rows end to end, to learn what `targets` has for each of their positions: a token, or `IGNORED`."""
    batch = pack([(row.row, row.input_ids, [False] * len(row.input_ids)) for row in rows], task=task)
    return replace(batch, targets=torch.tensor([target for row in targets for target in row], dtype=torch.int64))


@dataclass(frozen=True)
class Window:
    """The micro-batches of one optimizer update; their split changes memory and speed, never the update."""

    batches: tuple[Batch, ...]

    @property
    def rows(self) -> tuple[int, ...]:
        """The numbers of all rows in the update."""
        return tuple(row for batch in self.batches for row in batch.rows)

    def share(self, rank: int, count: int) -> tuple[Batch, ...]:
        """Return the micro-batches of one of `count` processes; each goes, largest first, to who has least so far."""
        sizes = [batch.num_positions for batch in self.batches]
        loads, takers = [0] * count, [0] * len(sizes)
        for place in sorted(range(len(sizes)), key=lambda place: -sizes[place]):
            takers[place] = loads.index(min(loads))
            loads[takers[place]] += sizes[place]
        return tuple(batch for batch, taker in zip(self.batches, takers, strict=True) if taker == rank)

    @property
    def num_tokens(self) -> int:
        """Tokens processed, supervised or not, an encoder's among them; no padding, and nothing for audio."""
        sources = sum(batch.source.num_tokens for batch in self.batches if batch.source is not None)
        return sources + sum(len(batch.input_ids) for batch in self.batches)
