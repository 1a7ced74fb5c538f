"""How the blocks of a Llama-shaped model are computed by a few functions of our own that keep little and copy little.

Models of this shape differ in names and constants only: RMSNorm, attention with rotary positions, RMSNorm, a gated
layer, each added to the residual. `read_blocks` reads the loaded modules, tuned or not, as that shape, anew for each
batch, so nothing is replaced and nothing must be kept in step; what it cannot read is left to the model's own forward.
`blocks_fit` tries block by block whether the reading is right. Since only supervised positions are asked for, the last
block computes nothing but keys and values for the others.

Shape letters: T tokens, S supervised positions, H hidden size, D head size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from tenfold.kernels.normed_projection import normed_projections
from tenfold.kernels.packed_attention import attend
from tenfold.kernels.packed_rows import PackedRows
from tenfold.kernels.projection import Projectable, Projection
from tenfold.kernels.residual_projection import gated_projection, residual_projection
from tenfold.kernels.rotary import rotated
from tenfold.models.compact import CompactBatch
from tenfold.models.sharding import computed_inside, is_gathered_by_itself

BLOCK_TOLERANCE = 0.02
"""Largest relative difference of what a block adds in bf16; measured: at most 0.006 for SmolLM2's blocks."""

TOKEN_ROUNDING = 64
"""A batch is filled up to a multiple of this many tokens. oneDNN makes about 33 products for each number of tokens it
meets, which takes it 0.8 ms and 0.6 MB each: 20 MB a batch, until its caches of 1,024 products are full."""

ASKED_ROUNDING = 32
"""The same for the positions that the last block computes."""


@dataclass(frozen=True)
class _Norm:
    weight: Tensor
    epsilon: float


@dataclass(frozen=True)
class _Places:
    """What all blocks need to know of the batch."""

    cos: Tensor  # [T, D]
    sin: Tensor  # [T, D]
    rows: PackedRows


@dataclass(frozen=True)
class Block:
    """One block, as its modules stand at this moment."""

    attention_norm: _Norm
    queries: Projection
    keys: Projection
    values: Projection
    query_norm: nn.Module | None
    key_norm: nn.Module | None
    head_size: int
    scaling: float
    attention_output: Projection
    gated_norm: _Norm
    gate: Projection
    up: Projection
    down: Projection

    def __call__(self, x: Tensor, places: _Places, asked: Tensor | None = None) -> Tensor:
        """Return the block's answer [T, H] for x [T, H]; at the positions `asked` [S] alone, [S, H], where given."""
        x, attended = self._attend(x, places)
        if asked is not None:
            x, attended = x.index_select(0, asked), attended.index_select(0, asked)
        x = residual_projection(x, attended, self.attention_output)
        norm = self.gated_norm
        x, gate, up = normed_projections(x, norm.weight, epsilon=norm.epsilon, projections=(self.gate, self.up))
        return gated_projection(x, gate, up, self.down)

    def _attend(self, x: Tensor, places: _Places) -> tuple[Tensor, Tensor]:
        norm = self.attention_norm
        x, *projected = normed_projections(
            x, norm.weight, epsilon=norm.epsilon, projections=(self.queries, self.keys, self.values)
        )
        query, key, value = (part.view(len(x), -1, self.head_size) for part in projected)
        query = query if self.query_norm is None else self.query_norm(query)
        key = key if self.key_norm is None else self.key_norm(key)
        query, key = rotated(query, places.cos, places.sin), rotated(key, places.cos, places.sin)
        return x, attend(query, key, value, places.rows, scaling=self.scaling).view(len(x), -1)


@dataclass(frozen=True)
class BlockInParts:
    """A block of which this rank holds a part: its modules are read where they are gathered, each time anew."""

    layer: nn.Module

    def __call__(self, x: Tensor, places: _Places, asked: Tensor | None = None) -> Tensor:
        """Return what `Block` does."""

        def compute(x: Tensor) -> Tensor:
            block = _read_block(self.layer)
            assert block is not None, "it was read before, in parts"
            return block(x, places, asked)

        return computed_inside(self.layer, x, compute)


@dataclass(frozen=True)
class FusedBlocks:
    """A model's blocks, between its own embeddings and its own last norm."""

    base: nn.Module
    blocks: tuple[Block | BlockInParts, ...]
    recomputes: bool

    def __call__(self, batch: CompactBatch) -> Tensor:
        """Return the hidden states at the batch's supervised positions, [S, H]."""
        places, x = self.begin(batch)
        asked = filled(batch.supervised, ASKED_ROUNDING)
        for block in self.blocks[:-1]:
            x = self._run(block, x, places, None)
        x = self._run(self.blocks[-1], x, places, asked)[: len(batch.supervised)]
        states: Tensor = self.base.norm(x)  # type: ignore[operator]
        return states

    def begin(self, batch: CompactBatch) -> tuple[_Places, Tensor]:
        """Return where the tokens stand, and what goes into the first block, [T, H], fillers included."""
        x = self.base.embed_tokens(filled(batch.input_ids, TOKEN_ROUNDING)[None])  # type: ignore[operator]
        positions = filled(batch.positions, TOKEN_ROUNDING)
        cos, sin = self.base.rotary_emb(x, position_ids=positions[None])  # type: ignore[operator]
        rows = PackedRows(batch.cu_seqlens, batch.cu_seqlens_keys, device=x.device)
        return _Places(cos[0], sin[0], rows), x[0]

    def _run(self, block: Block | BlockInParts, x: Tensor, places: _Places, asked: Tensor | None) -> Tensor:
        if not (self.recomputes and torch.is_grad_enabled()):
            return block(x, places, asked)
        answer: Tensor = checkpoint(block, x, places, asked, use_reentrant=False)
        return answer


def filled(indices: Tensor, rounding: int) -> Tensor:
    """Return `indices` with zeros behind them, up to a multiple of `rounding`."""
    return nn.functional.pad(indices, (0, -len(indices) % rounding))


def read_blocks(causal: PreTrainedModel) -> FusedBlocks | None:
    """Return the model's blocks as they stand now, or None where one of them is of another shape."""
    base = causal.base_model
    if not _has_children(base, {"embed_tokens", "layers", "norm", "rotary_emb"}) or _bends_attention(causal):
        return None
    assert isinstance(base.layers, nn.ModuleList)
    blocks: list[Block | BlockInParts] = []
    for layer in base.layers:
        if (block := _read_block(layer)) is None:
            return None
        blocks.append(BlockInParts(layer) if is_gathered_by_itself(layer) else block)
    return FusedBlocks(base, tuple(blocks), recomputes=causal.is_activation_checkpointing and base.training)


def _bends_attention(causal: PreTrainedModel) -> bool:
    """Return whether the configuration names what a trial on short rows may not show."""
    config = causal.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    return (
        getattr(config, "sliding_window", None) is not None
        or getattr(config, "attn_logit_softcapping", None) is not None
        or bool(getattr(config, "attention_dropout", None))
        or not kinds <= {"full_attention"}
    )


def _read_block(layer: nn.Module) -> Block | None:
    parts = dict(layer.named_children())
    if parts.keys() != {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}:
        return None
    attention, gated = parts["self_attn"], parts["mlp"]
    required, optional = {"q_proj", "k_proj", "v_proj", "o_proj"}, {"q_norm", "k_norm"}
    if not _has_children(attention, required, optional) or not _has_children(
        gated, {"gate_proj", "up_proj", "down_proj", "act_fn"}
    ):
        return None
    if any(_has_hooks(module) for module in (layer, *parts.values())):
        return None
    norms = [_read_norm(parts[name]) for name in ("input_layernorm", "post_attention_layernorm")]
    modules = dict(attention.named_children()) | dict(gated.named_children())
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    queries, keys, values, output, gate, up, down = (_read_projection(modules[name]) for name in names)
    head_size, scaling = getattr(attention, "head_dim", None), getattr(attention, "scaling", None)
    if not isinstance(head_size, int) or not isinstance(scaling, float) or norms[0] is None or norms[1] is None:
        return None
    if queries is None or keys is None or values is None or output is None:
        return None
    if gate is None or up is None or down is None:
        return None
    return Block(
        attention_norm=norms[0],
        queries=queries,
        keys=keys,
        values=values,
        query_norm=modules.get("q_norm"),
        key_norm=modules.get("k_norm"),
        head_size=head_size,
        scaling=scaling,
        attention_output=output,
        gated_norm=norms[1],
        gate=gate,
        up=up,
        down=down,
    )


def _read_norm(module: nn.Module) -> _Norm | None:
    epsilon = getattr(module, "variance_epsilon", None)
    named = dict(module.named_parameters())
    if not isinstance(epsilon, float) or named.keys() != {"weight"} or _has_hooks(module):
        return None
    return _Norm(named["weight"], epsilon)


def _read_projection(module: nn.Module) -> Projection | None:
    if _has_hooks(module):
        return None
    if isinstance(module, Projectable):
        return module.projection()
    if type(module) is not nn.Linear or not module.weight.is_floating_point():
        return None
    return Projection(module.weight, module.bias)


def _has_children(module: nn.Module, required: set[str], optional: set[str] = frozenset()) -> bool:  # type: ignore[assignment]
    names = {name for name, _ in module.named_children()}
    return required <= names <= required | optional


def _has_hooks(module: nn.Module) -> bool:
    allowed = int(is_gathered_by_itself(module))
    around = max(len(module._forward_hooks), len(module._forward_pre_hooks))
    return around > allowed or bool(module._backward_hooks or module._backward_pre_hooks)


@torch.no_grad()
def blocks_fit(causal: PreTrainedModel, batch: CompactBatch) -> bool:
    """Return whether every block of the model, run on this packed batch, is what `read_blocks` makes of it.

    Each is given what the model's own block was given, so that one wrong block shows by itself.
    """
    fused = read_blocks(causal)
    if fused is None:
        return False
    seen: list[tuple[Tensor, Tensor]] = []

    def note(module: nn.Module, inputs: tuple[object, ...], named: Mapping[str, object], answer: object) -> None:
        given = inputs[0] if inputs else named["hidden_states"]
        answer = answer[0] if isinstance(answer, tuple) else answer
        assert isinstance(given, Tensor) and isinstance(answer, Tensor)
        seen.append((given[0], answer[0]))

    assert isinstance(fused.base.layers, nn.ModuleList)
    handles = [layer.register_forward_hook(note, with_kwargs=True) for layer in fused.base.layers]
    try:
        own = causal.base_model(**packed_inputs(batch), use_cache=False).last_hidden_state[0, batch.supervised]
    finally:
        for handle in handles:
            handle.remove()
    places, _ = fused.begin(batch)
    fillers = len(places.cos) - len(batch.input_ids)
    seen = [(nn.functional.pad(given, (0, 0, 0, fillers)), answer) for given, answer in seen]
    return all(_alike(fused.blocks, seen, places)) and _near(fused(batch), own, 2 * BLOCK_TOLERANCE)


def _alike(
    blocks: tuple[Block | BlockInParts, ...], seen: list[tuple[Tensor, Tensor]], places: _Places
) -> Iterator[bool]:
    yield len(blocks) == len(seen)
    for block, (given, answer) in zip(blocks, seen, strict=False):
        added = (block(given, places).float() - given.float())[: len(answer)]
        yield _near(added, answer.float() - given[: len(answer)].float(), BLOCK_TOLERANCE)


def _near(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    return bool((found.float() - expected.float()).norm() <= tolerance * expected.float().norm())


def packed_inputs(batch: CompactBatch) -> dict[str, object]:
    """Return the batch as transformers' models take packed rows."""
    longest = int(batch.cu_seqlens_keys.diff().max())
    return {
        "input_ids": batch.input_ids[None],
        "position_ids": batch.positions[None],
        "cu_seq_lens_q": batch.cu_seqlens,
        "cu_seq_lens_k": batch.cu_seqlens_keys,
        "max_length_q": longest,
        "max_length_k": longest,
    }
