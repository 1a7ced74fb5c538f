"""Where packed rows stand while attention works on them: sorted, rounded up, equal lengths side by side.

Shape letters: T tokens, S slots (tokens plus the padding that rounding adds), N rows of a group, L their
rounded length, K key and value heads, G query heads that share one, H heads of a tensor (K * G or K), D head size.
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
generation, nine times the product itself, and 0.6 MB that it keeps)."""

GROUP_TOKENS = 512
"""Rows of one rounded length share a product up to this many tokens: 1.7 times faster for rows of 20 to 60
tokens, no difference for longer ones. Their number is a power of two, again for few shapes."""


@dataclass(frozen=True)
class Group:
    """Rows of one rounded length, side by side in the slots."""

    num_rows: int
    length: int
    first_slot: int
    first_query: int
    """Place in each row before which all tokens are borrowed: their answers stand in the first row."""

    def matrices(self, laid_out: Tensor, num_heads: int, num_key_heads: int) -> Tensor:
        """Return the group's part of [S * H, D] as [N * K, L * G, D], one matrix per row and key head; a view."""
        start = self.first_slot * num_heads
        part = laid_out[start : start + self.num_rows * self.length * num_heads]
        return part.view(self.num_rows * num_key_heads, -1, laid_out.shape[1])


@dataclass(frozen=True)
class RowLayout:
    """Which slot each token stands in, and the groups that the slots fall into.

    A row that begins like the batch's first row borrows those tokens: they stand once among the tokens, and again in
    the slots of every row that needs them.
    """

    slot_of_token: Tensor  # [T], the slot in the token's own row
    token_of_slot: Tensor  # [S], the row's last where the slot is padding
    not_own: Tensor  # the slots without a token or with a borrowed one
    borrowed: tuple[tuple[int, int], ...]  # first slot and number of tokens of each row that borrows
    groups: tuple[Group, ...]

    def heads(self, num_heads: int, num_key_heads: int) -> HeadLayout:
        """Return the layout of a tensor with so many heads, in the order that each group's matrices need."""
        device = self.slot_of_token.device
        head = torch.arange(num_heads, device=device)
        places = torch.arange(len(self.token_of_slot) * num_heads, device=device)
        shared = num_heads // num_key_heads
        order = torch.cat(
            [
                group.matrices(places[:, None], num_heads, 1)
                .view(group.num_rows, group.length, num_key_heads, shared)
                .transpose(1, 2)
                .reshape(-1)
                for group in self.groups
            ]
            or [places]
        )
        place_of = torch.empty_like(order).index_copy_(0, order, places)  # [S * H], by slot and head

        def spread(indices: Tensor) -> Tensor:
            return (indices[:, None] * num_heads + head).view(-1)

        slot, head_of_place = order // num_heads, order % num_heads
        return HeadLayout(
            source=self.token_of_slot[slot] * num_heads + head_of_place,
            own=place_of[spread(self.slot_of_token)],
            not_own=place_of[spread(self.not_own)],
            borrowed=tuple(
                place_of[spread(torch.arange(first, first + length, device=device))] for first, length in self.borrowed
            ),
        )


@dataclass(frozen=True)
class HeadLayout:
    """Where each head of each token stands: heads of one key head side by side, as one matrix of products reads them.

    Tensors come and go as [tokens * H, D]. There may be more tokens than the rows have: fillers, which stand nowhere.
    """

    source: Tensor  # [S * H], which head of which token stands there; in padding, of the row's last token
    own: Tensor  # [T * H], where each token's head stands in its own row
    not_own: Tensor  # places of padding and of borrowed tokens
    borrowed: tuple[Tensor, ...]  # of each row that borrows, where the first row's tokens stand in it

    def lay_out(self, tokens: Tensor) -> Tensor:
        """Copy [T * H, D] into the slots [S * H, D]; no query of a row sees its padding."""
        return tokens.index_select(0, self.source)

    def gather(self, laid_out: Tensor, num_places: int) -> Tensor:
        """Copy [S * H, D] back to the tokens, each from its own row, with zeros for fillers: [num_places, D]."""
        result = laid_out.new_empty(num_places, laid_out.shape[1])
        torch.index_select(laid_out, 0, self.own, out=result[: len(self.own)])
        result[len(self.own) :].zero_()
        return result

    def lay_out_gradient(self, gradient: Tensor) -> Tensor:
        """Copy the gradient of what `gather` gave into the slots that it was taken from; zeros elsewhere."""
        return gradient.index_select(0, self.source).index_fill_(0, self.not_own, 0)

    def gather_gradient(self, laid_out: Tensor, num_places: int) -> Tensor:
        """Return the gradient of what `lay_out` was given: a token's slots summed, in fp32 where there are several."""
        result = self.gather(laid_out, num_places)
        if self.borrowed:
            total = result[: max(len(places) for places in self.borrowed)].float()
            for places in self.borrowed:
                total[: len(places)] += laid_out.index_select(0, places)
            result[: len(total)] = total
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

    @property
    def first_query(self) -> int:
        return self.borrowed // ROUNDING * ROUNDING


def row_layout(cu_seqlens: Tensor, cu_seqlens_keys: Tensor, device: torch.device) -> RowLayout:
    """Return the layout of rows with own tokens between `cu_seqlens` and, borrowed ones included, `cu_seqlens_keys`.

    Both are [rows + 1]. Rows without a token of their own take no slot.
    """
    borders: list[int] = cu_seqlens.tolist()
    lengths: list[int] = cu_seqlens_keys.diff().tolist()
    spans = zip(pairwise(borders), lengths, strict=True)
    rows = [_Row(start, stop, length - (stop - start)) for (start, stop), length in spans if stop > start]
    rows.sort(key=lambda row: (*_shape(row), row.start))
    slot_of_token = torch.empty(borders[-1], dtype=torch.int64)
    token_of_slot = torch.empty(sum(row.rounded for row in rows), dtype=torch.int64)
    borrowed: list[tuple[int, int]] = []
    slot = 0
    for row in rows:
        own = slot + row.borrowed
        token_of_slot[slot:own] = torch.arange(row.borrowed)
        # padding repeats the row's own last token: another row's could be infinite, and 0 times that is no 0
        token_of_slot[own : slot + row.rounded] = torch.arange(row.start, row.start + row.rounded - row.borrowed).clamp(
            max=row.stop - 1
        )
        slot_of_token[row.start : row.stop] = torch.arange(own, slot + row.length)
        if row.borrowed:
            borrowed.append((slot, row.borrowed))
        slot += row.rounded
    not_own = torch.ones(slot, dtype=torch.bool).index_fill_(0, slot_of_token, False)
    return RowLayout(
        slot_of_token=slot_of_token.to(device),
        token_of_slot=token_of_slot.to(device),
        not_own=not_own.nonzero()[:, 0].to(device),
        borrowed=tuple(borrowed),
        groups=tuple(_groups(rows)),
    )


def _shape(row: _Row) -> tuple[int, int]:
    return row.rounded, row.first_query


def _groups(rows: list[_Row]) -> Iterator[Group]:
    """Yield groups of rows of one shape, each of at most `GROUP_TOKENS` slots with a query; `rows` come sorted."""
    first_slot = 0
    for (length, first_query), members in groupby(map(_shape, rows)):
        left, largest = len(list(members)), max(1, GROUP_TOKENS // (length - first_query))
        while left:
            group = Group(1 << (min(largest, left).bit_length() - 1), length, first_slot, first_query)
            first_slot += group.num_rows * length
            left -= group.num_rows
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
