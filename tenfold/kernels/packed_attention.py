"""Attention over packed rows: how do rows laid end to end attend without padding and without mixing?

Every row is causal and alone. On the CPU a row is cut into blocks of queries, and each block is three plain
batched products around a softmax; rows of one rounded length share the products. On CUDA torch's
variable-length flash kernel does the same where it can.

Shape letters: H query heads, K key and value heads, G = H / K query heads to a key head, T tokens, D head
size, R rows times key heads of a group, M queries times G of a block, J keys of a block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tenfold.kernels.packed_rows import Block, PackedRows, blocks
from tenfold.kernels.row_layout import Group, HeadLayout, spelled_out


@dataclass(frozen=True)
class _Settings:
    scaling: float
    softcap: float | None
    sliding_window: int | None
    dropout: float


@dataclass(frozen=True)
class _Attention:
    """One call's rows, settings and head counts; tensors of a block come as [R, M or J, D]."""

    rows: PackedRows
    settings: _Settings
    num_heads: int
    num_key_heads: int

    @property
    def num_shared(self) -> int:
        return self.num_heads // self.num_key_heads

    def blocks(self) -> Iterator[tuple[Group, Block]]:
        for group in self.rows.layout.groups:
            for block in blocks(group, self.settings.sliding_window):
                yield group, block

    def lay_out(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Copy [T, H or K, D] into the slots."""
        return self.queries.lay_out(_flat(query)), self.keys.lay_out(_flat(key)), self.keys.lay_out(_flat(value))

    @property
    def queries(self) -> HeadLayout:
        return self.rows.heads(self.num_heads, self.num_key_heads)

    @property
    def keys(self) -> HeadLayout:
        return self.rows.heads(self.num_key_heads, self.num_key_heads)

    def of_queries(self, laid_out: Tensor, group: Group, block: Block) -> Tensor:
        """Return the block's part of queries (or of anything that lies as they do), a view."""
        return group.matrices(laid_out, self.num_heads, self.num_key_heads)[:, block.queries(self.num_shared)]

    def of_keys(self, laid_out: Tensor, group: Group, block: Block) -> Tensor:
        """Return the block's part of keys or values, a view."""
        return group.matrices(laid_out, self.num_key_heads, self.num_key_heads)[:, block.keys]

    def scores(self, query: Tensor, key: Tensor, block: Block) -> Tensor:
        """Return what the softmax is taken of, [R, M, J]."""
        mask = self.rows.mask(block, self.num_shared, self.settings.sliding_window, query.dtype)
        if self.settings.softcap is None:
            return torch.baddbmm(mask, query, key.transpose(1, 2), alpha=self.settings.scaling)
        return self._capped(query, key, self.settings.softcap).mul_(self.settings.softcap).add_(mask)

    def _capped(self, query: Tensor, key: Tensor, softcap: float) -> Tensor:
        return torch.bmm(query, key.transpose(1, 2)).mul_(self.settings.scaling / softcap).tanh_()

    def scores_gradient(self, gradient: Tensor, probabilities: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """Carry the gradient of the probabilities back to the products (before the soft cap, after the scaling)."""
        result: Tensor = torch.ops.aten._softmax_backward_data(gradient, probabilities, -1, probabilities.dtype)
        if self.settings.softcap is not None:
            slope = self._capped(query, key, self.settings.softcap).square_().neg_().add_(1)
            result = result.mul_(slope)
        return result

    def survivors(self, probabilities: Tensor) -> Tensor:
        """Return which probabilities dropout keeps."""
        return torch.empty_like(probabilities, dtype=torch.bool).bernoulli_(1 - self.settings.dropout)

    def dropped(self, values: Tensor, survivors: Tensor | None) -> Tensor:
        """Return `values` after dropout, which is the same for probabilities and for their gradient."""
        return values if survivors is None else values * survivors / (1 - self.settings.dropout)


def _flat(tokens: Tensor) -> Tensor:
    return tokens.reshape(-1, tokens.shape[-1])


class _BlockAttention(torch.autograd.Function):
    """Block by block over [T, heads, D]; the backward computes the probabilities again.

    Kept, they would be a fifth of a block's activations at 130 tokens a row, and grow with the square of it; computing
    them again takes 3 % of the block's time.

    Source: the backward of a softmax over products, FlashAttention (Dao et al. 2022), algorithm 4; scores are
    rounded to the working dtype as transformers' eager attention does, the softmax itself runs in fp32.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, rows: PackedRows, settings: _Settings) -> Tensor:
        attention = _Attention(rows, settings, query.shape[1], key.shape[1])
        survivors: list[Tensor | None] = []
        with torch.autocast(query.device.type, enabled=False):
            queries, keys, values = attention.lay_out(query, key, value)
            output = torch.empty_like(queries)
            for group, block in attention.blocks():
                part = attention.of_keys(keys, group, block)
                scores = attention.scores(attention.of_queries(queries, group, block), part, block)
                probabilities = torch.softmax(scores, -1)
                survivors.append(attention.survivors(probabilities) if settings.dropout > 0 else None)
                attended = torch.bmm(
                    attention.dropped(probabilities, survivors[-1]), attention.of_keys(values, group, block)
                )
                attention.of_queries(output, group, block).copy_(attended)
            ctx.save_for_backward(query, key, value, *survivors)
            ctx.attention = attention
            return attention.queries.gather(output, len(_flat(query))).view(query.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        attention: _Attention = ctx.attention
        query, key, value, *survivors = ctx.saved_tensors
        with torch.autocast(gradient.device.type, enabled=False):
            parts = attention.lay_out(query, key, value)
            upstream = attention.queries.lay_out_gradient(_flat(gradient))
            results = tuple(torch.zeros_like(part) for part in parts)
            for (group, block), kept in zip(attention.blocks(), survivors, strict=True):
                _block_backward(attention, group, block, kept, parts, upstream, results)
            results[0].mul_(attention.settings.scaling)
            results[1].mul_(attention.settings.scaling)
            query_gradient = attention.queries.gather_gradient(results[0], len(_flat(query))).view(query.shape)
            key_gradient, value_gradient = (
                attention.keys.gather_gradient(result, len(_flat(key))).view(key.shape) for result in results[1:]
            )
        return query_gradient, key_gradient, value_gradient, None, None


def _block_backward(
    attention: _Attention,
    group: Group,
    block: Block,
    survivors: Tensor | None,
    parts: tuple[Tensor, Tensor, Tensor],
    upstream: Tensor,
    results: Sequence[Tensor],
) -> None:
    """Write the block's gradient of its queries into `results`, and add those of its keys and values."""
    query, gradient = (attention.of_queries(part, group, block) for part in (parts[0], upstream))
    key, value = (attention.of_keys(part, group, block) for part in parts[1:])
    probabilities = torch.softmax(attention.scores(query, key, block), -1)
    from_values = attention.dropped(torch.bmm(gradient, value.transpose(1, 2)), survivors)
    from_scores = attention.scores_gradient(from_values, probabilities, query, key)
    attention.of_queries(results[0], group, block).copy_(torch.bmm(from_scores, key))
    attention.of_keys(results[1], group, block).add_(torch.bmm(from_scores.transpose(1, 2), query))
    used = attention.dropped(probabilities, survivors)
    attention.of_keys(results[2], group, block).add_(torch.bmm(used.transpose(1, 2), gradient))


def _can_use_flash(query: Tensor, settings: _Settings) -> bool:
    """Say whether torch's variable-length kernel computes this (fp16 or bf16 on CUDA, no cap, no dropout)."""
    return (
        query.is_cuda
        and query.dtype in (torch.float16, torch.bfloat16)
        and query.shape[-1] <= 256
        and settings.softcap is None
        and settings.dropout == 0
        and torch.__version__ >= "2.13"
    )


def _flash(query: Tensor, key: Tensor, value: Tensor, cu_seqlens: Tensor, settings: _Settings) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn  # not in every torch that we support

    longest, borders = int(cu_seqlens.diff().max()), cu_seqlens.to(query.device, torch.int32)
    before = -1 if settings.sliding_window is None else settings.sliding_window - 1
    result = varlen_attn(
        query,
        key,
        value,
        borders,
        borders,
        longest,
        longest,
        scale=settings.scaling,
        window_size=(before, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(result, Tensor)
    return result


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    rows: PackedRows,
    *,
    scaling: float,
    softcap: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Return causal attention within each row, [T, H, D], for `query` [T, H, D], `key` and `value` [T, K, D].

    A query sees at most the last `sliding_window` tokens, itself included. `softcap` c makes scores s into
    c * tanh(s / c). `dropout` is the share of probabilities dropped, from torch's default generator. Under autocast
    everything is computed in its dtype. Same inputs give the same bits on the CPU.
    """
    borders, key_borders = rows.cu_seqlens, rows.cu_seqlens_keys
    assert int(borders[-1]) <= len(query), "rows must not end after the tokens"
    device_type = query.device.type
    dtype = torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else query.dtype
    query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    settings = _Settings(scaling, softcap, sliding_window, dropout)
    if _can_use_flash(query, settings) and int(borders[-1]) == len(query):
        if torch.equal(borders, key_borders):
            return _flash(query, key, value, borders, settings)
        tokens, places = (index.to(query.device) for index in spelled_out(borders, key_borders))
        return _flash(query[tokens], key[tokens], value[tokens], key_borders, settings)[places]
    output: Tensor = _BlockAttention.apply(query, key, value, rows, settings)  # type: ignore[no-untyped-call]
    return output


def packed_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: Tensor,
    *,
    scaling: float,
    cu_seqlens_keys: Tensor | None = None,
    softcap: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Return `attend` [T, H, D] for heads first, as transformers has them: `query` [H, T, D], `key`, `value` [K, T, D].

    The borders are those of `PackedRows`, made for this call alone.
    """
    return attend(
        query.transpose(0, 1),
        key.transpose(0, 1),
        value.transpose(0, 1),
        PackedRows(cu_seqlens, cu_seqlens_keys, device=query.device),
        scaling=scaling,
        softcap=softcap,
        sliding_window=sliding_window,
        dropout=dropout,
    )


def packed_attention_reference(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: Tensor,
    *,
    scaling: float,
    softcap: float | None = None,
    sliding_window: int | None = None,
) -> Tensor:
    """Return what `packed_attention` should, through one masked [T, T] softmax per head in fp32."""
    num_shared = query.shape[0] // key.shape[0]
    key, value = (part.float().repeat_interleave(num_shared, 0) for part in (key, value))
    scores = query.float() @ key.transpose(1, 2) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    place = torch.arange(query.shape[1])
    row = torch.bucketize(place, cu_seqlens[1:], right=True)
    visible = (row[:, None] == row) & (place[:, None] >= place)
    if sliding_window is not None:
        visible &= place[:, None] - place < sliding_window
    probabilities = scores.masked_fill(~visible.to(scores.device), -torch.inf).softmax(-1)
    return (probabilities @ value).transpose(0, 1).to(query.dtype)
