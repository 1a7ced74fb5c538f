"""Which family a model is of, read from its configuration: what it can be asked for follows from that."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForCTC,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSpeechSeq2Seq,
    PreTrainedConfig,
    PreTrainedModel,
)

Family = Literal["decoder", "encoder", "encoder_decoder", "speech_encoder_decoder", "speech_encoder"]


def family_of(config: PreTrainedConfig) -> Family | None:
    """Return the family of the model that `config` describes, or None where it is of none of them.

    A BERT that is not set up as a decoder counts as an encoder, although transformers can also build a causal language
    model of that type.
    """
    kind = type(config)
    if kind in AutoModelForSpeechSeq2Seq._model_mapping:
        return "speech_encoder_decoder"
    if kind in AutoModelForCTC._model_mapping:
        return "speech_encoder"
    if config.is_encoder_decoder and kind in AutoModelForSeq2SeqLM._model_mapping:
        return "encoder_decoder"
    if kind in AutoModelForMaskedLM._model_mapping and not getattr(config, "is_decoder", False):
        return "encoder"
    return "decoder" if kind in AutoModelForCausalLM._model_mapping else None


def family_of_network(network: nn.Module) -> Family | None:
    """Return the family of a plain transformers model, or None for any other network."""
    return family_of(network.config) if isinstance(network, PreTrainedModel) else None


def num_layers(folder: Path, *, trust_remote_code: bool = False) -> int:
    """Return how many states a token has in the model in `folder`: one before the first block, one after each."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    count: int = config.get_text_config().num_hidden_layers
    return count + 1
