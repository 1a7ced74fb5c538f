"""Where a transformer's blocks are, and in each block what attention and feed-forward add to the residual stream.

One line an architecture, as plain data: paths below the model's body (`base_model`), so that a model with a head and
the same one without it read alike. Each output named here is the last module before the addition: after the dropout
where dropout is a module, after the norm where an architecture norms the output once more (Gemma 2 and 3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel

from tenfold.errors import ModelError, Problem, nearest


@dataclass(frozen=True)
class Blocks:
    """A list of equal blocks: its path, and in a block where the two sub-layers give and the second one takes."""

    path: str
    attention: str
    """Gives what self-attention adds, `[..., hidden]`."""
    feed_forward_input: str
    """Takes what the feed-forward layer computes on, `[..., hidden]`."""
    feed_forward: str
    """Gives what the feed-forward layer adds, `[..., hidden]`."""


_LLAMA = (Blocks("layers", "self_attn.o_proj", "mlp", "mlp"),)
_GEMMA_2 = (Blocks("layers", "post_attention_layernorm", "mlp", "post_feedforward_layernorm"),)
_PHI = (Blocks("layers", "self_attn.dense", "mlp", "mlp"),)
_PHI_3 = (Blocks("layers", "resid_attn_dropout", "mlp", "resid_mlp_dropout"),)
_GPT_2 = (Blocks("h", "attn.resid_dropout", "mlp", "mlp"),)
_BERT = (Blocks("encoder.layer", "attention.output.dropout", "intermediate", "output.dropout"),)
_DISTILBERT = (Blocks("transformer.layer", "attention.out_lin", "ffn", "ffn"),)
_T5 = (
    Blocks("encoder.block", "layer.0.dropout", "layer.1.DenseReluDense", "layer.1.dropout"),
    Blocks("decoder.block", "layer.0.dropout", "layer.2.DenseReluDense", "layer.2.dropout"),
)
_BART = tuple(Blocks(f"{side}.layers", "self_attn.out_proj", "fc1", "fc2") for side in ("encoder", "decoder"))
_WAV2VEC2 = (Blocks("encoder.layers", "dropout", "feed_forward", "feed_forward"),)

LAYOUTS: dict[str, tuple[Blocks, ...]] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "gemma": _LLAMA,
    "gemma2": _GEMMA_2,
    "gemma3_text": _GEMMA_2,
    "phi": _PHI,
    "phi3": _PHI_3,
    "gpt2": _GPT_2,
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "distilbert": _DISTILBERT,
    "t5": _T5,
    "mt5": _T5,
    "bart": _BART,
    "marian": _BART,
    "whisper": _BART,
    "wav2vec2": _WAV2VEC2,
    "hubert": _WAV2VEC2,
}
"""Blocks by the configuration's `model_type`; an encoder's come before its decoder's."""


@dataclass(frozen=True)
class Block:
    """One block of a loaded model; `path` is that below the model's body."""

    path: str
    attention: nn.Module
    feed_forward_input: nn.Module
    feed_forward: nn.Module


def hidden_size(network: nn.Module) -> int:
    """Return the width of the residual stream of `network`, a transformers model."""
    assert isinstance(network, PreTrainedModel), "only a transformers model says how wide it is"
    return int(network.config.get_text_config().hidden_size)


def find_blocks(network: nn.Module) -> list[Block]:
    """Return every block of `network`, a transformers model, in the order of computation.

    Raises:
        ModelError: the architecture is not in `LAYOUTS`, or this model is not built as it says.
    """
    assert isinstance(network, PreTrainedModel), "only a transformers model has a known layout"
    kind = network.config.model_type
    layout = LAYOUTS.get(kind)
    if layout is None:
        raise ModelError(
            Problem(
                where="model",
                found=f"where the blocks of a {kind!r} model are is not known",
                allowed=", ".join(LAYOUTS),
                remedy=nearest(kind, LAYOUTS) or "choose such a model, or a tuner that needs no blocks, such as lora",
            )
        )
    found = [block for blocks in layout for block in _blocks(network.base_model, blocks)]
    if not found:
        paths = ", ".join(blocks.path for blocks in layout)
        raise ModelError(Problem("model", f"{type(network).__name__} has no blocks at {paths}"))
    return found


def _blocks(body: nn.Module, blocks: Blocks) -> Iterator[Block]:
    """Yield the blocks at one path; none where the model has only the other half of an encoder and decoder."""
    try:
        layers = body.get_submodule(blocks.path)
    except AttributeError:
        return
    for name, layer in layers.named_children():
        path = f"{blocks.path}.{name}"
        try:
            modules = [
                layer.get_submodule(each) for each in (blocks.attention, blocks.feed_forward_input, blocks.feed_forward)
            ]
        except AttributeError as error:
            raise ModelError(Problem("model", f"the block {path} is not built as expected: {error}")) from error
        yield Block(path, *modules)
