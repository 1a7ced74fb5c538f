"""Tiny models that read a text or hear a clip, with tokenizers, feature extractors and clips, all made in code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
import torch
from tokenizers import processors
from transformers import (
    AutoModelForCTC,
    AutoModelForSeq2SeqLM,
    AutoModelForSpeechSeq2Seq,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.tiny_tokenizers import byte_tokenizer

RATE = 16_000
WORDS = ("red", "blue", "green", "dad", "bee", "glue", "rude", "bad")
"""Each word has a tone of its own."""

_LAYERS: dict[str, object] = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 128,
    "dropout": 0.0,
    "init_std": 0.2,
}

TEXT_FAMILIES: dict[str, dict[str, object]] = {
    "t5": {
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 2,
        "num_heads": 4,
        "dropout_rate": 0.0,
        "initializer_factor": 2.0,
    },
    "mt5": {
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 48,
        "num_layers": 2,
        "num_heads": 4,
        "dropout_rate": 0.0,
        "initializer_factor": 2.0,
    },
    "bart": _LAYERS,
    "marian": _LAYERS,
    "mbart": _LAYERS,
    "m2m_100": _LAYERS,
}
"""Every family that `save_encoder_decoder` builds."""


def eos_tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer that ends every text, as those of encoder-decoders do."""
    tokenizer = byte_tokenizer(chat_template=None)
    end = ("<|endoftext|>", tokenizer.eos_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end[0]}", special_tokens=[end]
    )
    tokenizer.pad_token = "<s>"
    return tokenizer


def save_encoder_decoder(folder: Path, family: str = "t5", *, seed: int = 0) -> Path:
    """Save a random encoder-decoder of `family` with a byte-level tokenizer."""
    tokenizer = eos_tokenizer()
    special = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "decoder_start_token_id": tokenizer.pad_token_id,
        "forced_eos_token_id": None,
    }
    config = CONFIG_MAPPING[family](**{**TEXT_FAMILIES[family], **special})
    _seeded(AutoModelForSeq2SeqLM, config, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_whisper(folder: Path, *, is_multilingual: bool = False, seed: int = 0) -> Path:
    """Save a random Whisper that hears one second, with a byte-level tokenizer."""
    tokenizer = byte_tokenizer(chat_template=None)
    names = ["<|startoftranscript|>", "<|it|>", "<|transcribe|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": names})
    start = tokenizer.convert_tokens_to_ids(names[0])
    settings = {
        **_LAYERS,
        "num_mel_bins": 20,
        "max_source_positions": 50,
        "max_target_positions": 64,
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.eos_token_id,
        "decoder_start_token_id": start,
        "init_std": 0.1,
    }
    settings.pop("max_position_embeddings")
    model = _seeded(AutoModelForSpeechSeq2Seq, CONFIG_MAPPING["whisper"](**settings), seed)
    told = {
        "lang_to_id": {"<|it|>": tokenizer.convert_tokens_to_ids("<|it|>")},
        "task_to_id": {"transcribe": tokenizer.convert_tokens_to_ids("<|transcribe|>")},
    }
    model.generation_config = GenerationConfig(
        decoder_start_token_id=start,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
        is_multilingual=is_multilingual,
        suppress_tokens=[tokenizer.convert_tokens_to_ids("!")],
        begin_suppress_tokens=[tokenizer.eos_token_id],
        no_timestamps_token_id=tokenizer.convert_tokens_to_ids(names[3]),
        **(told if is_multilingual else {}),
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=20, chunk_length=1).save_pretrained(folder)
    return folder


def save_ctc(folder: Path, family: str = "wav2vec2", *, norm: str = "layer", seed: int = 0) -> Path:
    """Save a random CTC model that writes the letters of `WORDS`; its encoder has a position each 320 samples."""
    folder.mkdir(parents=True, exist_ok=True)
    signs = ["<pad>", "<s>", "</s>", "<unk>", "|", *sorted(set("".join(WORDS)))]
    (folder / "vocab.json").write_text(json.dumps({sign: number for number, sign in enumerate(signs)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    config = CONFIG_MAPPING[family](
        vocab_size=len(signs),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        conv_dim=(16, 16, 16),
        conv_kernel=(20, 8, 4),
        conv_stride=(16, 5, 4),
        num_feat_extract_layers=3,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer",
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        feat_proj_dropout=0.0,
        activation_dropout=0.0,
        layerdrop=0.0,
        final_dropout=0.0,
        ctc_loss_reduction="sum",
    )
    _seeded(AutoModelForCTC, config, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer").save_pretrained(folder)
    return folder


def _seeded(opener: type, config: object, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PreTrainedModel = opener.from_config(config, dtype=torch.float32)  # type: ignore[attr-defined]
    return model.eval()


def tone(word: str, *, seconds: float, rate: int = RATE, shade: int = 0) -> np.ndarray:
    """Return the tone of `word`, a little different for each `shade`."""
    time = np.arange(round(seconds * rate)) / rate
    pitch = 200.0 * 1.35 ** WORDS.index(word) + shade
    wave: np.ndarray = (0.4 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)
    return wave


def write_speech(folder: Path, *, num_rows: int = 32, name: str = "speech.jsonl", rate: int = RATE) -> Path:
    """Write clips of tones, each with its word as the transcript; no two clips are the same."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(num_rows):
        word = WORDS[number % len(WORDS)]
        path = f"clips/{word}-{number}.wav"
        soundfile.write(folder / path, tone(word, seconds=0.3 + 0.02 * (number % 7), rate=rate, shade=number), rate)
        rows.append({"audio": path, "text": word, "clip": number})
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / name


def write_translations(folder: Path, *, num_rows: int = 48, language: str | None = None) -> Path:
    """Write rows to translate: the colour's name in another language."""
    names = {"red": "rot", "blue": "blau", "green": "gruen", "grey": "grau"}
    rows = [
        {"source": f"lamp {number} {colour}", "target": f"{names[colour]}"}
        | ({} if language is None else {"language": language})
        for number, colour in enumerate([*names] * (num_rows // 4))
    ]
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
