"""Where packed rows stand while attention works on them: sorted, rounded up, equal lengths side by side.

Shape letters: T tokens, S slots (tokens plus the padding that rounding adds), N rows of a group, L their
rounded length, K key and value heads, G query heads that share one, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise

import torch
from torch import Tensor

ROUNDING = 16
"""Row lengths are rounded up to this, so products and softmax run on whole vectors (bf16 softmax: 0.13 ms at
128 keys, 0.28 ms at 125) and on few distinct shapes (a first-seen shape costs oneDNN about 0.8 ms of code
generation, nine times the product itself)."""

GROUP_TOKENS = 512
"""Rows of one rounded length share a product up to this many tokens: 1.7 times faster for rows of 20 to 60
tokens, no difference for longer ones."""


@dataclass(frozen=True)
class Group:
    """Rows of one rounded length, side by side in the slots."""

    num_rows: int
    length: int
    first_slot: int

    @property
    def slots(self) -> slice:
        """The slots of all rows of the group."""
        return slice(self.first_slot, self.first_slot + self.num_rows * self.length)

    def split(self, slotted: Tensor, num_key_heads: int) -> Tensor:
        """Copy the group's part of [S, K * G, D] into [N * K, L * G, D], one matrix per row and key head."""
        num_heads, size = slotted.shape[1:]
        shape = (self.num_rows, self.length, num_key_heads, num_heads // num_key_heads, size)
        matrices = slotted[self.slots].view(shape).transpose(1, 2)
        return matrices.reshape(self.num_rows * num_key_heads, -1, size)

    def join(self, matrices: Tensor, slotted: Tensor) -> None:
        """Write [N * K, L * G, D] into the group's part of `slotted` [S, K * G, D]; undoes `split`."""
        size = slotted.shape[2]
        shape = (self.num_rows, len(matrices) // self.num_rows, self.length, -1, size)
        rows = matrices.view(shape).transpose(1, 2)
        slotted[self.slots].view(rows.shape).copy_(rows)


@dataclass(frozen=True)
class RowLayout:
    """Which slot each token stands in, and the groups that the slots fall into.

    A row that begins like the batch's first row borrows those tokens: they stand once among the tokens, and again in
    the slots of every row that needs them.
    """

    slot_of_token: Tensor  # [T], the slot in the token's own row
    token_of_slot: Tensor  # [S], 0 where the slot is padding
    padding: Tensor  # the slots without a token
    not_own: Tensor  # the slots without a token or with a borrowed one
    borrowed: tuple[tuple[int, int], ...]  # first slot and number of tokens of each row that borrows
    groups: tuple[Group, ...]

    def lay_out(self, tokens: Tensor) -> Tensor:
        """Copy [T, ...] into the slots [S, ...], zeros in the padding."""
        return tokens.index_select(0, self.token_of_slot).index_fill_(0, self.padding, 0)

    def gather(self, slotted: Tensor) -> Tensor:
        """Copy [S, ...] back to the tokens [T, ...], each from its own row; the rest is dropped."""
        return slotted.index_select(0, self.slot_of_token)

    def lay_out_gradient(self, gradient: Tensor) -> Tensor:
        """Copy the gradient of what `gather` gave into the slots that it was taken from; zeros elsewhere."""
        return gradient.index_select(0, self.token_of_slot).index_fill_(0, self.not_own, 0)

    def gather_gradient(self, slotted: Tensor) -> Tensor:
        """Return the gradient of what `lay_out` was given: a token's slots summed, in fp32 where there are several."""
        result = self.gather(slotted)
        if self.borrowed:
            longest = max(length for _, length in self.borrowed)
            total = result[:longest].float()
            for slot, length in self.borrowed:
                total[:length] += slotted[slot : slot + length]
            result[:longest] = total
        return result


@dataclass(frozen=True)
class _Row:
    """A row's tokens from `start` to `stop`, after `borrowed` ones of the first row."""

    start: int
    stop: int
    borrowed: int

    @property
    def length(self) -> int:
        return self.borrowed + self.stop - self.start

    @property
    def rounded(self) -> int:
        return -(-self.length // ROUNDING) * ROUNDING


def row_layout(cu_seqlens: Tensor, cu_seqlens_keys: Tensor, device: torch.device) -> RowLayout:
    """Return the layout of rows with own tokens between `cu_seqlens` and, borrowed ones included, `cu_seqlens_keys`.

    Both are [rows + 1]. Rows without a token of their own take no slot.
    """
    borders: list[int] = cu_seqlens.tolist()
    lengths: list[int] = cu_seqlens_keys.diff().tolist()
    spans = zip(pairwise(borders), lengths, strict=True)
    rows = [_Row(start, stop, length - (stop - start)) for (start, stop), length in spans if stop > start]
    rows.sort(key=lambda row: (row.rounded, row.start))
    slot_of_token = torch.empty(borders[-1], dtype=torch.int64)
    token_of_slot = torch.full((sum(row.rounded for row in rows),), -1)
    borrowed: list[tuple[int, int]] = []
    slot = 0
    for row in rows:
        own = slot + row.borrowed
        token_of_slot[slot:own] = torch.arange(row.borrowed)
        token_of_slot[own : slot + row.length] = torch.arange(row.start, row.stop)
        slot_of_token[row.start : row.stop] = torch.arange(own, slot + row.length)
        if row.borrowed:
            borrowed.append((slot, row.borrowed))
        slot += row.rounded
    not_own = torch.ones(slot, dtype=torch.bool).index_fill_(0, slot_of_token, False)
    return RowLayout(
        slot_of_token=slot_of_token.to(device),
        token_of_slot=token_of_slot.clamp(min=0).to(device),
        padding=(token_of_slot < 0).nonzero()[:, 0].to(device),
        not_own=not_own.nonzero()[:, 0].to(device),
        borrowed=tuple(borrowed),
        groups=tuple(_groups(rows)),
    )


def _groups(rows: list[_Row]) -> Iterator[Group]:
    """Yield groups of rows of one rounded length, each of at most `GROUP_TOKENS` slots; `rows` come sorted."""
    first_slot = 0
    for length, members in groupby(row.rounded for row in rows):
        count, largest = len(list(members)), max(1, GROUP_TOKENS // length)
        for done in range(0, count, largest):
            group = Group(min(largest, count - done), length, first_slot)
            first_slot += group.num_rows * length
            yield group


def spelled_out(cu_seqlens: Tensor, cu_seqlens_keys: Tensor) -> tuple[Tensor, Tensor]:
    """Return which token stands where once every row has its borrowed ones too, and each token's place in its own row.

    Shapes: [cu_seqlens_keys[-1]] and [cu_seqlens[-1]].
    """
    tokens, places = [], []
    key_starts: list[int] = cu_seqlens_keys.tolist()
    for (start, stop), (key_start, key_stop) in zip(pairwise(cu_seqlens.tolist()), pairwise(key_starts), strict=True):
        borrowed = (key_stop - key_start) - (stop - start)
        tokens += [torch.arange(borrowed), torch.arange(start, stop)]
        places.append(torch.arange(key_start + borrowed, key_stop))
    return torch.cat(tokens), torch.cat(places)
