"""Tiny random causal language models of the families that Tenfold meets, built without a network."""

from __future__ import annotations

import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

VOCABULARY = 96

_SHARED: dict[str, object] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}

_OWN: dict[str, dict[str, object]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "gemma": {},
    "gemma2": {
        "sliding_window": 5,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 3.0,
        "query_pre_attn_scalar": 8,
    },
    "gemma3_text": {
        "sliding_window": 5,
        "num_hidden_layers": 3,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "query_pre_attn_scalar": 8,
    },
    "gpt2": {"n_inner": 48},
    "phi": {},
    "mistral": {"sliding_window": 5},
}

FAMILIES = tuple(_OWN)
"""Every family that `tiny_model` builds."""


def tiny_model(family: str, *, attention: str = "eager", seed: int = 0, **overrides: object) -> PreTrainedModel:
    """Return a random model of `family` in evaluation mode, fp32, the same one for the same arguments.

    Weights are drawn wide (standard deviation 0.2): attention is far from uniform and a wrong mask shows.
    """
    settings = {**_SHARED, "initializer_range": 0.2, **_OWN[family], **overrides}
    config = CONFIG_MAPPING[family](**settings)
    config._attn_implementation = attention
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    return model.eval()


TINY_ENCODER: dict[str, int | float] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
"""The sizes of every tiny encoder."""


def tiny_bert(*, vocab_size: int, seed: int = 0) -> PreTrainedModel:
    """Return a random BERT in evaluation mode, the same one for the same seed; it has no dropout."""
    config = CONFIG_MAPPING["bert"](
        vocab_size=vocab_size,
        **TINY_ENCODER,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModel.from_config(config)
    return model.eval()


def tiny_masked_lm(family: str = "bert", *, vocab_size: int, seed: int = 0) -> PreTrainedModel:
    """Return a random encoder with its masked-LM head, the same one for the same seed; it has no dropout."""
    config = CONFIG_MAPPING[family](
        vocab_size=vocab_size,
        **TINY_ENCODER,
        pad_token_id=0,
        **({"dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4} if family == "distilbert" else {}),
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PreTrainedModel = AutoModelForMaskedLM.from_config(config)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):  # zeros at first, and a bias that is not read would not show
                nn.init.normal_(parameter, std=0.2)
    return model.eval()
