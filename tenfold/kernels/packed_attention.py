"""Attention over packed rows: how do rows laid end to end attend without padding and without mixing?

Every row is causal and alone. On the CPU a row is cut into blocks of queries, and each block is three plain
batched products around a softmax; rows of one rounded length share the products. On CUDA torch's
variable-length flash kernel does the same where it can.

Shape letters: H query heads, K key and value heads, G = H / K query heads to a key head, T tokens, D head
size, R rows times key heads of a group, M queries times G of a block, J keys of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tenfold.kernels.row_layout import ROUNDING, Group, RowLayout, row_layout, spelled_out

BLOCK = 128
"""Queries in one block. Blocks skip the future half of long rows; 128 beat 64, 256 and 512. Against sdpa with its
backward: 4 times faster at 128 tokens, 1.4 at 4,096 (bf16; fp32: 1.6 at 512, equal from 2,048)."""

KEPT_KEYS = 1024
"""Blocks with more keys recompute their probabilities in the backward, so that memory is linear in T."""


@dataclass(frozen=True)
class _Settings:
    scaling: float
    softcap: float | None
    sliding_window: int | None
    dropout: float


@dataclass(frozen=True)
class _Block:
    """Queries `start` to `stop` of every row in a group, and the keys from `first_key` that they may see."""

    start: int
    stop: int
    first_key: int

    @property
    def keys(self) -> slice:
        return slice(self.first_key, self.stop)

    def queries(self, num_shared: int) -> slice:
        return slice(self.start * num_shared, self.stop * num_shared)


def _blocks(group: Group, window: int | None) -> Iterator[_Block]:
    for start in range(0, group.length, BLOCK):
        oldest = 0 if window is None else max(0, start - window + 1)
        yield _Block(start, min(start + BLOCK, group.length), oldest // ROUNDING * ROUNDING)


class _Scorer:
    """Scores and probabilities of one block; queries come already multiplied by the scaling."""

    def __init__(self, settings: _Settings, num_shared: int, like: Tensor) -> None:
        self.settings = settings
        self.num_shared = num_shared  # G
        future = torch.full((BLOCK, BLOCK), -torch.inf, dtype=like.dtype, device=like.device).triu_(1)
        self.future = future.repeat_interleave(num_shared, 0)  # [BLOCK * G, BLOCK]

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the products [R, M, J], under the soft cap if there is one."""
        products = torch.bmm(query, key.transpose(1, 2))
        if self.settings.softcap is None:
            return products
        return products.div_(self.settings.softcap).tanh_().mul_(self.settings.softcap)

    def probabilities(self, scores: Tensor, block: _Block) -> Tensor:
        """Return the softmax of `scores` over the keys that each query may see; `scores` is changed."""
        size = block.stop - block.start
        scores[..., block.start - block.first_key :].add_(self.future[: size * self.num_shared, :size])
        window = self.settings.sliding_window
        if window is not None and block.first_key + window < block.stop:
            queries = torch.arange(block.start, block.stop, device=scores.device)
            keys = torch.arange(block.first_key, block.stop, device=scores.device)
            too_old = keys <= (queries - window).repeat_interleave(self.num_shared)[:, None]
            scores.masked_fill_(too_old, -torch.inf)
        return torch.softmax(scores, -1)

    def scores_gradient(self, gradient: Tensor, probabilities: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """Carry the gradient of the probabilities back to the products (before the soft cap)."""
        result: Tensor = torch.ops.aten._softmax_backward_data(gradient, probabilities, -1, probabilities.dtype)
        if self.settings.softcap is not None:
            slope = 1 - self.scores(query, key).div_(self.settings.softcap).square_()
            result = result.mul_(slope)
        return result


def _without_autocast(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, enabled=False)


def _attend(
    scorer: _Scorer, group: Group, query: Tensor, key: Tensor, value: Tensor
) -> tuple[Tensor, list[Tensor | None]]:
    """Return the group's output [R, L * G, D], and per block the probabilities and dropout's survivors."""
    outputs: list[Tensor] = []
    kept: list[Tensor | None] = []
    dropout = scorer.settings.dropout
    for block in _blocks(group, scorer.settings.sliding_window):
        scores = scorer.scores(query[:, block.queries(scorer.num_shared)], key[:, block.keys])
        probabilities = scorer.probabilities(scores, block)
        survivors: Tensor | None = None
        is_short = block.stop - block.first_key <= KEPT_KEYS
        kept.append(probabilities if is_short else None)
        if dropout > 0:
            survivors = torch.empty_like(probabilities, dtype=torch.bool).bernoulli_(1 - dropout)
            probabilities = probabilities * survivors / (1 - dropout)
        kept.append(survivors)
        outputs.append(torch.bmm(probabilities, value[:, block.keys]))
    return _join_blocks(outputs), kept


def _attend_backward(
    scorer: _Scorer, group: Group, parts: list[Tensor], gradient: Tensor, kept: Iterator[Tensor | None]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of `parts` (query, key, value) from that of the group's output."""
    query, key, value = parts
    query_gradients = []
    key_gradient: Tensor | None = None
    value_gradient: Tensor | None = None
    for block in _blocks(group, scorer.settings.sliding_window):
        block_query, block_key = query[:, block.queries(scorer.num_shared)], key[:, block.keys]
        block_gradient = gradient[:, block.queries(scorer.num_shared)]
        probabilities, survivors = next(kept), next(kept)
        if probabilities is None:
            probabilities = scorer.probabilities(scorer.scores(block_query, block_key), block)
        used = probabilities
        from_values = torch.bmm(block_gradient, value[:, block.keys].transpose(1, 2))
        if survivors is not None:
            used = probabilities * survivors / (1 - scorer.settings.dropout)
            from_values = from_values * survivors / (1 - scorer.settings.dropout)
        from_scores = scorer.scores_gradient(from_values, probabilities, block_query, block_key)
        query_gradients.append(torch.bmm(from_scores, block_key))
        key_part = torch.bmm(from_scores.transpose(1, 2), block_query)
        value_part = torch.bmm(used.transpose(1, 2), block_gradient)
        key_gradient = _add_keys(key_gradient, key_part, block, group.length)
        value_gradient = _add_keys(value_gradient, value_part, block, group.length)
    assert key_gradient is not None and value_gradient is not None  # a group has at least one block
    return _join_blocks(query_gradients), key_gradient, value_gradient


def _join_blocks(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _add_keys(total: Tensor | None, part: Tensor, block: _Block, length: int) -> Tensor:
    """Add what one block gives to its keys into `total` [R, length, D], which starts as None."""
    if total is None and part.shape[1] == length:
        return part
    if total is None:
        total = part.new_zeros(part.shape[0], length, part.shape[2])
    total[:, block.keys].add_(part)  # not +=, which would copy the slice once more
    return total


class _BlockAttention(torch.autograd.Function):
    """Block by block over [T, heads, D], see the module's docstring.

    Source: the backward of a softmax over products, FlashAttention (Dao et al. 2022), algorithm 4; scores are
    rounded to the working dtype as transformers' eager attention does, the softmax itself runs in fp32.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: RowLayout, settings: _Settings) -> Tensor:
        num_key_heads = key.shape[1]
        saved: list[Tensor | None] = []
        with _without_autocast(query.device):
            scorer = _Scorer(settings, query.shape[1] // num_key_heads, query)
            slotted = [layout.lay_out(part) for part in (query, key, value)]
            output = torch.empty_like(slotted[0])
            for group in layout.groups:
                parts = [group.split(part, num_key_heads) for part in slotted]
                parts[0] = parts[0] * settings.scaling
                result, kept = _attend(scorer, group, *parts)
                group.join(result, output)
                saved += [*parts, *kept]
            ctx.save_for_backward(*saved)
            ctx.layout, ctx.scorer, ctx.num_key_heads = layout, scorer, num_key_heads
            return layout.gather(output)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        layout, scorer, num_key_heads = ctx.layout, ctx.scorer, ctx.num_key_heads
        saved = iter(ctx.saved_tensors)
        with _without_autocast(gradient.device):
            slotted = layout.lay_out_gradient(gradient)
            key_shape = (slotted.shape[0], num_key_heads, slotted.shape[2])
            results = (torch.empty_like(slotted), slotted.new_empty(key_shape), slotted.new_empty(key_shape))
            for group in layout.groups:
                parts = [next(saved), next(saved), next(saved)]
                part = group.split(slotted, num_key_heads)
                gradients = _attend_backward(scorer, group, parts, part, saved)
                gradients[0].mul_(scorer.settings.scaling)
                for matrices, result in zip(gradients, results, strict=True):
                    group.join(matrices, result)
            query_gradient, key_gradient, value_gradient = (layout.gather_gradient(result) for result in results)
        return query_gradient, key_gradient, value_gradient, None, None


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
    """Return causal attention within each row, [T, H, D], for `query` [H, T, D], `key` and `value` [K, T, D].

    Row n is the tokens from `cu_seqlens[n]` to `cu_seqlens[n + 1]` (kept on the CPU); rows may be empty. A
    query sees at most the last `sliding_window` tokens, itself included. A row that is longer by `cu_seqlens_keys`
    than by `cu_seqlens` begins with that many tokens of the first row, which are given once, there. `softcap` c
    makes scores s into c * tanh(s / c). `dropout` is the share of probabilities dropped, from torch's default
    generator. Under autocast everything is computed in its dtype. Same inputs give the same bits on the CPU.
    """
    assert int(cu_seqlens[-1]) == query.shape[1], "cu_seqlens must end at the number of tokens"
    device_type = query.device.type
    dtype = torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else query.dtype
    query, key, value = (part.transpose(0, 1).to(dtype) for part in (query, key, value))
    settings = _Settings(scaling, softcap, sliding_window, dropout)
    borders = cu_seqlens if cu_seqlens_keys is None else cu_seqlens_keys
    if _can_use_flash(query, settings):
        if torch.equal(cu_seqlens, borders):
            return _flash(query, key, value, cu_seqlens, settings)
        tokens, places = (index.to(query.device) for index in spelled_out(cu_seqlens, borders))
        return _flash(query[tokens], key[tokens], value[tokens], borders, settings)[places]
    layout = row_layout(cu_seqlens, borders, query.device)
    output: Tensor = _BlockAttention.apply(query, key, value, layout, settings)  # type: ignore[no-untyped-call]
    return output


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
