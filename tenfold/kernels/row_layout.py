"""Where packed rows stand while attention works on them: sorted, rounded up, equal lengths side by side.

Shape letters: T tokens, S slots (tokens plus the padding that rounding adds), N rows of a group, L their
rounded length, K key and value heads, G query heads that share one, D head size.
"""

from __future__ import annotations

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
    """Which slot each token stands in, and the groups that the slots fall into."""

    slot_of_token: Tensor  # [T]
    token_of_slot: Tensor  # [S], 0 where the slot is padding
    padding: Tensor  # the slots without a token
    groups: tuple[Group, ...]

    def lay_out(self, tokens: Tensor) -> Tensor:
        """Copy [T, ...] into the slots [S, ...], zeros in the padding."""
        return tokens.index_select(0, self.token_of_slot).index_fill_(0, self.padding, 0)

    def gather(self, slotted: Tensor) -> Tensor:
        """Copy [S, ...] back to the tokens [T, ...]; the padding is dropped."""
        return slotted.index_select(0, self.slot_of_token)


def row_layout(cu_seqlens: Tensor, device: torch.device) -> RowLayout:
    """Return the layout of rows with borders `cu_seqlens` [rows + 1]; rows without a token take no slot."""
    borders: list[int] = cu_seqlens.tolist()
    rows = sorted(
        (-(-(stop - start) // ROUNDING) * ROUNDING, start, stop) for start, stop in pairwise(borders) if stop > start
    )
    slots = torch.empty(borders[-1], dtype=torch.int64)
    groups: list[Group] = []
    num_slots = 0
    for length, members in groupby(rows, key=lambda row: row[0]):
        largest = max(1, GROUP_TOKENS // length)
        num_rows = 0
        for _, start, stop in members:
            if num_rows == largest:
                groups.append(Group(num_rows, length, num_slots - num_rows * length))
                num_rows = 0
            slots[start:stop] = torch.arange(num_slots, num_slots + stop - start)
            num_slots += length
            num_rows += 1
        groups.append(Group(num_rows, length, num_slots - num_rows * length))
    tokens = torch.full((num_slots,), -1).index_copy_(0, slots, torch.arange(borders[-1]))
    return RowLayout(
        slot_of_token=slots.to(device),
        token_of_slot=tokens.clamp(min=0).to(device),
        padding=(tokens < 0).nonzero()[:, 0].to(device),
        groups=tuple(groups),
    )
