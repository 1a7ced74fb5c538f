"""`whisper-tiny-en`: OpenAI's English speech recogniser, out of a CTranslate2 file into a Hugging Face folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

from evidence.models.ctranslate2 import read_model

START, END, NO_TIMESTAMPS = "<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>"
NORMS = {"self_attention": "self_attn_layer_norm", "attention": "encoder_attn_layer_norm", "ffn": "final_layer_norm"}
PARTS = {"gamma": "weight", "beta": "bias", "weight": "weight", "bias": "bias"}
UNUSED = ("decoder/projection/weight",)
"""Tied to the token embeddings."""


def convert(weight_file: Path, folder: Path) -> None:
    """Write model, tokenizer and feature extractor to `folder`; `weight_file` has its small files beside it.

    The stored half-precision numbers are kept bit for bit.
    """
    variables = read_model(weight_file).variables
    tokenizer = _tokenizer(weight_file.parent / "tokenizer.json")
    model = WhisperForConditionalGeneration(_config(variables, tokenizer)).half()
    tensors = {name: torch.from_numpy(array.copy()) for name, array in renamed(variables)}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected and set(missing) == {"proj_out.weight"}, (missing, unexpected)
    model.tie_weights()
    model.generation_config = _generation(json.loads((weight_file.parent / "config.json").read_text()), tokenizer)
    model.save_pretrained(folder)
    WhisperProcessor(_extractor(), tokenizer).save_pretrained(folder)


def renamed(variables: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield every tensor under the name that transformers gives it; fused projections are parted."""
    for name, array in variables.items():
        if array.ndim == 0 or name in UNUSED or name.endswith("alignment_heads"):
            continue
        side, rest = name.split("/", maxsplit=1)
        layer = re.fullmatch(r"layer_(\d+)/(\w+)/(\w+)/(\w+)", rest)
        if layer:
            yield from _in_layer(f"model.{side}.layers.{layer[1]}.", layer[2], layer[3], PARTS[layer[4]], array)
        else:
            yield f"model.{side}.{_outside(rest)}", array


def _in_layer(prefix: str, block: str, part: str, kind: str, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    if part == "layer_norm":
        yield f"{prefix}{NORMS[block]}.{kind}", array
    elif block == "ffn":
        yield f"{prefix}{'fc1' if part == 'linear_0' else 'fc2'}.{kind}", array
    else:
        attention = prefix + ("self_attn" if block == "self_attention" else "encoder_attn")
        for projection, piece in _parted(block, part, array):
            if projection == "k_proj" and kind == "bias":
                assert not piece.any(), "Whisper's keys have no bias"
                continue
            yield f"{attention}.{projection}.{kind}", piece


def _parted(block: str, part: str, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    fused = {
        ("self_attention", "linear_0"): ("q_proj", "k_proj", "v_proj"),
        ("self_attention", "linear_1"): ("out_proj",),
        ("attention", "linear_0"): ("q_proj",),
        ("attention", "linear_1"): ("k_proj", "v_proj"),
        ("attention", "linear_2"): ("out_proj",),
    }[block, part]
    yield from zip(fused, np.split(array, len(fused)), strict=True)


def _outside(rest: str) -> str:
    known = {"embeddings/weight": "embed_tokens.weight", "position_encodings/encodings": "embed_positions.weight"}
    if rest in known:
        return known[rest]
    owner, part = rest.split("/")
    return f"{owner}.{PARTS[part]}"


def _config(variables: Mapping[str, np.ndarray], tokenizer: PreTrainedTokenizerFast) -> WhisperConfig:
    vocabulary, width = variables["decoder/embeddings/weight"].shape
    start, end = tokenizer.convert_tokens_to_ids([START, END])
    return WhisperConfig(
        vocab_size=vocabulary,
        num_mel_bins=variables["encoder/conv1/weight"].shape[1],
        d_model=width,
        encoder_layers=_count_layers(variables, "encoder"),
        decoder_layers=_count_layers(variables, "decoder"),
        encoder_attention_heads=int(variables["encoder/num_heads"]),
        decoder_attention_heads=int(variables["decoder/num_heads"]),
        encoder_ffn_dim=variables["encoder/layer_0/ffn/linear_0/weight"].shape[0],
        decoder_ffn_dim=variables["decoder/layer_0/ffn/linear_0/weight"].shape[0],
        max_source_positions=variables["encoder/position_encodings/encodings"].shape[0],
        max_target_positions=variables["decoder/position_encodings/encodings"].shape[0],
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        dtype="float16",
    )


def _count_layers(variables: Mapping[str, np.ndarray], side: str) -> int:
    return len({found[1] for name in variables if (found := re.match(rf"{side}/layer_(\d+)/", name))})


def _tokenizer(path: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_file=str(path), bos_token=END, eos_token=END, pad_token=END, unk_token=END, model_max_length=448
    )


def _generation(stored: Mapping[str, list[int]], tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    start, end, plain = tokenizer.convert_tokens_to_ids([START, END, NO_TIMESTAMPS])
    return GenerationConfig(
        decoder_start_token_id=start,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        max_length=448,
        suppress_tokens=stored["suppress_ids"],
        begin_suppress_tokens=stored["suppress_ids_begin"],
        alignment_heads=stored["alignment_heads"],
        no_timestamps_token_id=plain,
        forced_decoder_ids=None,
        is_multilingual=False,
        return_timestamps=False,
    )


def _extractor() -> WhisperFeatureExtractor:
    """Return the log-mel front end that Whisper was trained with: 16 kHz, 80 bands, windows of 30 s."""
    return WhisperFeatureExtractor(feature_size=80, sampling_rate=16_000, hop_length=160, chunk_length=30, n_fft=400)
