"""Where the blocks are: for every architecture the paths exist, and what they name is in the computation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tenfold.errors import ModelError
from tenfold.models.layout import LAYOUTS, find_blocks

SHARED: dict[str, object] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SIDES: dict[str, object] = {
    "vocab_size": 96,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}
T5 = {"vocab_size": 96, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_heads": 4, "num_layers": 2, "num_decoder_layers": 3}
OWN: dict[str, dict[str, object]] = {
    "gpt2": {**SHARED, "n_inner": 48},
    "distilbert": {"vocab_size": 96, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4},
    "t5": T5,
    "mt5": {**T5, "feed_forward_proj": "gated-gelu"},
    "bart": SIDES,
    "marian": SIDES,
    **{
        kind: {
            **SHARED,
            "conv_dim": (8, 8),
            "conv_kernel": (10, 4),
            "conv_stride": (5, 4),
            "num_feat_extract_layers": 2,
        }
        | {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
        for kind in ("wav2vec2", "hubert")
    },
    "whisper": {**SIDES, "num_mel_bins": 8, "max_source_positions": 16, "max_target_positions": 16},
}


def tiny(kind: str) -> PreTrainedModel:
    config = CONFIG_MAPPING[kind](**OWN.get(kind, SHARED))
    torch.manual_seed(0)
    model: PreTrainedModel = AutoModel.from_config(config)
    return model.eval()


@torch.no_grad()
def answer(model: PreTrainedModel) -> Tensor:
    """Return the last hidden state for a few fixed tokens (or, for speech, features)."""
    ids = torch.arange(3, 12)[None]
    if model.config.model_type == "whisper":
        features = torch.randn(1, 8, 32, generator=torch.Generator().manual_seed(1))
        return model(input_features=features, decoder_input_ids=ids).last_hidden_state
    if model.config.model_type in ("wav2vec2", "hubert"):
        return model(input_values=torch.randn(1, 400, generator=torch.Generator().manual_seed(1))).last_hidden_state
    if model.config.is_encoder_decoder:
        return model(input_ids=ids, decoder_input_ids=ids + 1).last_hidden_state
    return model(input_ids=ids).last_hidden_state


@pytest.mark.parametrize("kind", LAYOUTS)
def test_every_place_gives_and_takes_hidden_states_that_the_answer_depends_on(kind: str) -> None:
    model = tiny(kind)
    blocks = find_blocks(model)
    assert len(blocks) == (5 if model.config.is_encoder_decoder else 2)
    before = answer(model)
    for block in blocks:
        for place in (block.attention, block.feed_forward):
            handle = place.register_forward_hook(lambda module, inputs, output: output + 0.5 * torch.sign(output))
            assert not torch.allclose(answer(model), before, atol=1e-4), block.path
            handle.remove()
        taken: list[Tensor] = []
        handle = block.feed_forward_input.register_forward_pre_hook(
            lambda module, inputs, taken=taken: taken.extend(inputs)
        )
        assert torch.equal(answer(model), before)
        handle.remove()
        assert [each.shape[-1] for each in taken] == [32]


PLAIN_SUMS = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "gpt2")
"""Architectures of one stack whose blocks end in the sum, with no norm after it."""


@pytest.mark.parametrize("kind", PLAIN_SUMS)
def test_the_two_outputs_are_all_that_a_block_adds(kind: str) -> None:
    """With both outputs at zero every block passes its input on unchanged."""
    model = tiny(kind)
    blocks = find_blocks(model)
    states: list[Tensor] = []
    handles = [
        place.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
        for block in blocks
        for place in (block.attention, block.feed_forward)
    ]
    handles.append(
        model.get_submodule(blocks[0].path).register_forward_pre_hook(
            lambda module, inputs, named: states.append(inputs[0] if inputs else named["hidden_states"]),
            with_kwargs=True,
        )
    )
    handles.append(
        model.get_submodule(blocks[-1].path).register_forward_hook(
            lambda module, inputs, output: states.append(output if isinstance(output, Tensor) else output[0])
        )
    )
    answer(model)
    for handle in handles:
        handle.remove()
    assert torch.equal(states[0], states[1])


def test_a_head_changes_no_path_and_half_a_model_has_its_own_blocks() -> None:
    config = CONFIG_MAPPING["bart"](**SIDES)
    blocks = find_blocks(AutoModelForCausalLM.from_config(config))
    assert [block.path for block in blocks] == ["decoder.layers.0", "decoder.layers.1", "decoder.layers.2"]
    config = CONFIG_MAPPING["llama"](**SHARED)
    plain, headed = AutoModel.from_config(config), AutoModelForCausalLM.from_config(config)
    assert [block.path for block in find_blocks(headed)] == [block.path for block in find_blocks(plain)]


def test_an_unknown_architecture_is_refused_with_the_known_ones() -> None:
    config = CONFIG_MAPPING["bloom"](vocab_size=96, hidden_size=32, n_layer=1, n_head=4)
    with pytest.raises(ModelError) as caught:
        find_blocks(AutoModelForCausalLM.from_config(config))
    message = str(caught.value)
    assert "blocks of a 'bloom' model" in message
    assert all(kind in message for kind in LAYOUTS)


def test_a_model_that_is_built_otherwise_is_refused() -> None:
    model = tiny("llama")
    model.layers[1].mlp = None
    with pytest.raises(ModelError, match=r"layers\.1 is not built as expected"):
        find_blocks(model)
    model.layers = nn.ModuleList()
    with pytest.raises(ModelError, match="has no blocks at layers"):
        find_blocks(model)
