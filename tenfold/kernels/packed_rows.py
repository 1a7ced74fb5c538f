"""Rows laid end to end, as attention takes them: their borders, the blocks of queries they are cut into, and masks.

Shape letters: G query heads to a key head, M queries times G of a block, J keys of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from tenfold.kernels.row_layout import ROUNDING, Group, HeadLayout, RowLayout, row_layout

BLOCK = 128
"""Queries in one block. Blocks skip the future half of long rows; 128 beat 64, 256 and 512. Against sdpa with its
backward: 4 times faster at 128 tokens, 1.4 at 4,096 (bf16; fp32: 1.6 at 512, equal from 2,048)."""


KEPT_KEYS = 1024
"""Masks of blocks with more keys are made anew for each layer, so that memory stays linear in a row's length."""


@dataclass(frozen=True)
class Block:
    """Queries `start` to `stop` of every row in a group, and the keys from `first_key` that they may see."""

    start: int
    stop: int
    first_key: int

    @property
    def keys(self) -> slice:
        """The keys' places in their row."""
        return slice(self.first_key, self.stop)

    def queries(self, num_shared: int) -> slice:
        """The queries' places where so many heads of each token lie side by side."""
        return slice(self.start * num_shared, self.stop * num_shared)


def blocks(group: Group, window: int | None) -> Iterator[Block]:
    """Yield the blocks of a group's rows; `window` is how far back a query sees."""
    for start in range(group.first_query, group.length, BLOCK):
        oldest = 0 if window is None else max(0, start - window + 1)
        yield Block(start, min(start + BLOCK, group.length), oldest // ROUNDING * ROUNDING)


class PackedRows:
    """Borders of packed rows, and what attention derives of them once: hand the same to every layer of a batch.

    Row n is the tokens from `cu_seqlens[n]` to `cu_seqlens[n + 1]` (kept on the CPU); rows may be empty. A row that is
    longer by `cu_seqlens_keys` than by `cu_seqlens` begins with that many tokens of the first row, which are given
    once, there. Tokens after the last row are fillers: nobody sees them, and their answer is 0.
    """

    def __init__(self, cu_seqlens: Tensor, cu_seqlens_keys: Tensor | None = None, *, device: torch.device) -> None:
        self.cu_seqlens = cu_seqlens
        self.cu_seqlens_keys = cu_seqlens if cu_seqlens_keys is None else cu_seqlens_keys
        self._device = device
        self._heads: dict[tuple[int, int], HeadLayout] = {}
        self._masks: dict[tuple[Block, int, int | None, torch.dtype], Tensor] = {}

    @cached_property
    def layout(self) -> RowLayout:
        """Where the tokens stand."""
        return row_layout(self.cu_seqlens, self.cu_seqlens_keys, self._device)

    def heads(self, num_heads: int, num_key_heads: int) -> HeadLayout:
        """Where the heads of a tensor stand."""
        key = (num_heads, num_key_heads)
        if key not in self._heads:
            self._heads[key] = self.layout.heads(*key)
        return self._heads[key]

    def mask(self, block: Block, num_shared: int, window: int | None, dtype: torch.dtype) -> Tensor:
        """Return 0 where a query of the block sees a key and minus infinity elsewhere, [M, J]."""
        key = (block, num_shared, window, dtype)
        if key in self._masks:
            return self._masks[key]
        queries = torch.arange(block.start, block.stop, device=self._device)[:, None]
        keys = torch.arange(block.first_key, block.stop, device=self._device)
        hidden = keys > queries
        if window is not None:
            hidden |= keys <= queries - window
        mask = torch.zeros(hidden.shape, dtype=dtype, device=self._device).masked_fill_(hidden, -torch.inf)
        mask = mask.repeat_interleave(num_shared, 0)
        if len(keys) <= KEPT_KEYS:
            self._masks[key] = mask
        return mask
