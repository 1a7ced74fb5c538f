"""How transformers' models reach our attention: the implementation named "tenfold".

A model whose config says `_attn_implementation = "tenfold"` runs `packed_attention` when it is called with
`cu_seq_lens_q` (transformers' own name for the borders of packed rows), and what transformers itself would
run (sdpa, or eager arithmetic under a soft cap) for everything else: generation with a cache, padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tenfold.kernels.bidirectional_attention import bidirectional_attention
from tenfold.kernels.packed_attention import packed_attention

NAME = "tenfold"

_HARMLESS = frozenset(
    {
        "cache_position",
        "max_length_k",
        "max_length_q",
        "num_items_in_batch",
        "output_attentions",
        "output_hidden_states",
        "position_ids",
        "return_dict",
        "use_cache",
    }
)
"""What transformers hands to attention functions without a meaning for packed attention."""


class DeferredMask:
    """A mask that is built only when asked for.

    Packed rows carry their borders beside the mask, but a mask function does not see them. It would have to
    build [T, T] booleans that nobody reads; or leave them out, and a caller who forgot the borders would let
    rows see each other. Deferring does neither.
    """

    def __init__(self, arguments: Mapping[str, object]) -> None:
        self._arguments = arguments

    @cached_property
    def tensor(self) -> Tensor | None:
        """The mask as sdpa takes it; built once for all layers."""
        mask: Tensor | None = sdpa_mask(**self._arguments)
        return mask

    @property
    def window(self) -> object:
        """How many tokens a query may look back by the mask; None for all."""
        return self._arguments.get("local_size")

    @cached_property
    def sees_future(self) -> bool:
        """Whether a token sees the next one: an overlay (image blocks) that row borders do not tell."""
        visible = self._arguments["mask_function"]
        length = self._arguments["q_length"]
        assert callable(visible) and isinstance(length, int)
        first = torch.zeros(1, dtype=torch.int64)
        place = torch.arange(length - 1)
        return bool(torch.as_tensor(visible(first, first, place, place + 1)).any())


def deferred_mask(**arguments: object) -> Tensor | DeferredMask | None:
    """Return sdpa's mask; deferred where rows may be packed (no padding mask, no cache, plain pattern)."""
    is_plain = not arguments.get("use_vmap")  # set by transformers for a caller's own pattern
    is_whole = arguments["q_length"] == arguments["kv_length"]
    deferred = DeferredMask(arguments)
    return deferred if arguments.get("attention_mask") is None and is_whole and is_plain else deferred.tensor


def tenfold_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | DeferredMask | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    softcap: float | None = None,
    **kwargs: object,
) -> tuple[Tensor, None]:
    """Return attention [B, T, H, D] for `query` [B, H, T, D], `key` and `value` [B, K, T, D].

    Raises:
        NotImplementedError: the model asks for arithmetic that is not here (attention sinks, a position bias,
            a pattern that the borders do not tell). Nothing is ever left out in silence.
    """
    if kwargs.get("s_aux") is not None:
        raise NotImplementedError('attention sinks ("s_aux") are not computed by the "tenfold" attention')
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    borders, key_borders = kwargs.pop("cu_seq_lens_q", None), kwargs.pop("cu_seq_lens_k", None)
    if isinstance(borders, Tensor):
        is_causal = _is_causal(module, kwargs.pop("is_causal", None))
        window = _check_packed(query, key, attention_mask, kwargs, is_causal=is_causal)
        if not is_causal:
            if softcap is not None or window is not None:
                raise NotImplementedError("packed attention to later tokens has no soft cap and no window")
            output = bidirectional_attention(query[0], key[0], value[0], borders, scaling=scaling, dropout=dropout)
            return output[None], None
        output = packed_attention(
            query[0],
            key[0],
            value[0],
            borders,
            cu_seqlens_keys=key_borders if isinstance(key_borders, Tensor) else None,
            scaling=scaling,
            softcap=softcap,
            sliding_window=window,
            dropout=dropout,
        )
        return output[None], None
    mask = attention_mask.tensor if isinstance(attention_mask, DeferredMask) else attention_mask
    if softcap is not None:
        return _capped_attention(query, key, value, mask, dropout, scaling, softcap), None
    result: tuple[Tensor, None] = sdpa_attention_forward(
        module, query, key, value, mask, dropout=dropout, scaling=scaling, **kwargs
    )
    return result


def _is_causal(module: nn.Module, given: object) -> bool:
    return bool(getattr(module, "is_causal", True) if given is None else given)


def _check_packed(
    query: Tensor,
    key: Tensor,
    mask: Tensor | DeferredMask | None,
    kwargs: dict[str, object],
    *,
    is_causal: bool,
) -> int | None:
    """Refuse what packed attention would compute wrongly; return the sliding window."""
    window = kwargs.pop("sliding_window", None)
    problems = [
        f"the argument {name!r}" for name, given in kwargs.items() if given is not None and name not in _HARMLESS
    ]
    if query.shape[0] != 1:
        problems.append(f"{query.shape[0]} lines of packed rows (one is expected)")
    if key.shape[2] != query.shape[2]:
        problems.append("a cache of keys and values, or attention to another sequence")
    if isinstance(mask, Tensor):
        problems.append("a mask beside the rows' borders")
    if isinstance(mask, DeferredMask) and mask.window != window:
        problems.append(f"a mask of local size {mask.window} with a sliding window of {window}")
    if is_causal and isinstance(mask, DeferredMask) and mask.sees_future:
        problems.append("a mask that lets tokens see later ones")
    if problems:
        raise NotImplementedError(f"packed attention does not support {', '.join(problems)}")
    assert window is None or isinstance(window, int)
    return window


def _capped_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    dropout: float,
    scaling: float,
    softcap: float,
) -> Tensor:
    """Attention under a soft cap, which sdpa does not have; softmax in fp32 as in transformers' models."""
    num_shared = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(num_shared, 1), value.repeat_interleave(num_shared, 1)
    scores = softcap * torch.tanh(query @ key.transpose(2, 3) * (scaling / softcap))
    if mask is None and query.shape[2] > 1:  # sdpa's convention: no mask means causal
        mask = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None and mask.dtype == torch.bool:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    elif mask is not None:
        scores = scores + mask
    probabilities = torch.softmax(scores, -1, dtype=torch.float32).to(query.dtype)
    probabilities = nn.functional.dropout(probabilities, dropout)
    return (probabilities @ value).transpose(1, 2).contiguous()


def register_attention() -> None:
    """Make "tenfold" known to transformers as an attention implementation; calling again changes nothing."""
    AttentionInterface.register(NAME, tenfold_attention)
    AttentionMaskInterface.register(NAME, deferred_mask)
