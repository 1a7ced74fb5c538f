"""Attention over packed rows in which every token sees its whole row, as encoders have it.

Rows of one rounded length lie side by side and share their products. Which products, was measured on one core (forward
and backward, 16 rows of 32 tokens to one of 512): in bf16 plain ones took 2.2 to 37 ms where
`scaled_dot_product_attention` took 22 to 73, in fp32 that was the faster one (6.8 to 64 ms against 7.4 to 97). Forward
alone it is the faster one in bf16 too from 128 tokens on (15 ms against 20, at 256 24 against 40).

Shape letters: H query heads, K key and value heads, T tokens, D head size, S slots, N rows of a group, L their rounded
length.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tenfold.kernels.row_layout import Group, RowLayout, row_layout

LONG = 128
"""Rows from which on, without a backward pass, plain products are the slower ones on a CPU."""


def bidirectional_attention(
    query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor, *, scaling: float, dropout: float = 0.0
) -> Tensor:
    """Return attention within each row, [T, H, D], for `query` [H, T, D], `key` and `value` [K, T, D].

    Row n is the tokens from `cu_seqlens[n]` to `cu_seqlens[n + 1]` (kept on the CPU); rows may be empty. `dropout` is
    the share of probabilities dropped, from torch's default generator. Under autocast everything is in its dtype.
    """
    device_type = query.device.type
    dtype = torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else query.dtype
    layout = row_layout(cu_seqlens, cu_seqlens, query.device)
    num_shared = query.shape[0] // key.shape[0]
    key, value = (part.repeat_interleave(num_shared, 0) for part in (key, value))
    slotted = [part.transpose(0, 1).to(dtype).index_select(0, layout.token_of_slot) for part in (query, key, value)]
    with torch.autocast(device_type, enabled=False):
        parts = [_attend(layout, group, slotted, scaling, dropout) for group in layout.groups]
    return torch.cat(parts).index_select(0, layout.slot_of_token)


def _attend(layout: RowLayout, group: Group, slotted: list[Tensor], scaling: float, dropout: float) -> Tensor:
    """Return the output of the group's slots, [N * L, H, D]."""
    slots = slice(group.first_slot, group.first_slot + group.num_rows * group.length)
    query, key, value = (
        part[slots].unflatten(0, (group.num_rows, group.length)).transpose(1, 2) for part in slotted
    )  # [N, H, L, D]
    is_token = torch.ones(len(slotted[0]), dtype=torch.bool, device=query.device)
    is_token[layout.not_own] = False
    visible = is_token[slots].view(group.num_rows, 1, 1, group.length)
    is_short = torch.is_grad_enabled() or group.length < LONG
    if query.dtype == torch.bfloat16 and query.device.type == "cpu" and is_short:
        scores = (query * scaling) @ key.transpose(2, 3)
        probabilities = torch.softmax(scores.masked_fill_(~visible, -torch.inf), -1)
        output = functional.dropout(probabilities, dropout) @ value
    else:
        output = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=visible, dropout_p=dropout, scale=scaling
        )
    joined: Tensor = output.transpose(1, 2).flatten(0, 1)
    return joined


def bidirectional_attention_reference(
    query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor, *, scaling: float
) -> Tensor:
    """Return what `bidirectional_attention` should, through one masked [T, T] softmax per head in fp32."""
    num_shared = query.shape[0] // key.shape[0]
    key, value = (part.float().repeat_interleave(num_shared, 0) for part in (key, value))
    row = torch.bucketize(torch.arange(query.shape[1]), cu_seqlens[1:], right=True)
    visible = (row[:, None] == row).to(query.device)
    scores = (query.float() @ key.transpose(1, 2) * scaling).masked_fill(~visible, -torch.inf)
    return (scores.softmax(-1) @ value).transpose(0, 1).to(query.dtype)
