"""Conversions: binary layouts are read as they were written, and every tensor comes to its own name."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from evidence.models import e5, whisper
from evidence.models.ctranslate2 import read_model
from evidence.models.normalisation import beyond_nfkc, character_class


def text(value: str) -> bytes:
    encoded = value.encode() + b"\0"
    return struct.pack("<H", len(encoded)) + encoded


def variable(name: str, array: np.ndarray, code: int) -> bytes:
    raw = array.tobytes()
    shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
    return text(name) + shape + struct.pack("<BI", code, len(raw)) + raw


def model_file(*variables: bytes, aliases: tuple[tuple[str, str], ...] = (), version: int = 6) -> bytes:
    head = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    named = b"".join(text(alias) + text(name) for alias, name in aliases)
    return head + b"".join(variables) + struct.pack("<I", len(aliases)) + named


def test_a_ctranslate2_file_gives_its_variables_and_aliases(tmp_path: Path) -> None:
    halves = np.array([[1.5, -2.0], [0.25, 4.0]], dtype="<f2")
    path = tmp_path / "model.bin"
    path.write_bytes(
        model_file(
            variable("a/weight", halves, 4),
            variable("heads", np.array(6, dtype="<i2"), 2),
            aliases=(("b/weight", "a/weight"),),
        )
    )
    found = read_model(path)
    assert found.kind == "WhisperSpec"
    assert found.variables["a/weight"].tolist() == [[1.5, -2.0], [0.25, 4.0]]
    assert found.variables["b/weight"] is found.variables["a/weight"]
    assert int(found.variables["heads"]) == 6


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (model_file(version=4), "layout version 4"),
        (model_file(variable("x", np.zeros(1, dtype="<f4"), 9)), "unknown type 9"),
        (model_file() + b"more", "4 bytes are left"),
        (model_file(variable("x", np.zeros(8, dtype="<f4"), 0))[:-10], "too early"),
    ],
)
def test_a_damaged_ctranslate2_file_is_told(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=reason):
        read_model(path)


def fused(state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a transformers state the way CTranslate2 names and joins it."""
    variables: dict[str, np.ndarray] = {}
    for side in ("encoder", "decoder"):
        prefix = f"model.{side}."
        outside = {
            "layer_norm/gamma": "layer_norm.weight",
            "layer_norm/beta": "layer_norm.bias",
            "position_encodings/encodings": "embed_positions.weight",
            "embeddings/weight": "embed_tokens.weight",
            "conv1/weight": "conv1.weight",
            "conv1/bias": "conv1.bias",
            "conv2/weight": "conv2.weight",
            "conv2/bias": "conv2.bias",
        }
        variables |= {f"{side}/{new}": state[prefix + old] for new, old in outside.items() if prefix + old in state}
        for layer in range(2):
            variables |= fused_layer(state, f"{prefix}layers.{layer}.", f"{side}/layer_{layer}/")
    return variables


def fused_layer(state: dict[str, np.ndarray], prefix: str, place: str) -> dict[str, np.ndarray]:
    variables: dict[str, np.ndarray] = {}

    def joined(attention: str, kind: str, projections: str) -> np.ndarray:
        parts = []
        for letter in projections:
            name = f"{prefix}{attention}.{letter}_proj.{kind}"
            # Whisper's keys have no bias; CTranslate2 stores zeros.
            width = state[f"{prefix}{attention}.q_proj.bias"].shape
            parts.append(state[name] if name in state else np.zeros(width, dtype=np.float32))
        return np.concatenate(parts)

    for kind in ("weight", "bias"):
        variables[f"{place}self_attention/linear_0/{kind}"] = joined("self_attn", kind, "qkv")
        variables[f"{place}self_attention/linear_1/{kind}"] = state[f"{prefix}self_attn.out_proj.{kind}"]
        norm = {"weight": "gamma", "bias": "beta"}[kind]
        variables[f"{place}self_attention/layer_norm/{norm}"] = state[f"{prefix}self_attn_layer_norm.{kind}"]
        variables[f"{place}ffn/layer_norm/{norm}"] = state[f"{prefix}final_layer_norm.{kind}"]
        variables[f"{place}ffn/linear_0/{kind}"] = state[f"{prefix}fc1.{kind}"]
        variables[f"{place}ffn/linear_1/{kind}"] = state[f"{prefix}fc2.{kind}"]
        if "decoder" in place:
            variables[f"{place}attention/linear_0/{kind}"] = joined("encoder_attn", kind, "q")
            variables[f"{place}attention/linear_1/{kind}"] = joined("encoder_attn", kind, "kv")
            variables[f"{place}attention/linear_2/{kind}"] = state[f"{prefix}encoder_attn.out_proj.{kind}"]
            variables[f"{place}attention/layer_norm/{norm}"] = state[f"{prefix}encoder_attn_layer_norm.{kind}"]
    return variables


def test_every_tensor_of_whisper_comes_back_under_its_own_name() -> None:
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=40,
        d_model=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_source_positions=20,
        max_target_positions=12,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=1,
    )
    state = {name: tensor.numpy() for name, tensor in WhisperForConditionalGeneration(config).state_dict().items()}
    found = dict(whisper.renamed(fused(state)))
    assert found.keys() == state.keys() - {"proj_out.weight"}
    for name, array in found.items():
        assert np.array_equal(array, state[name]), name


def test_four_bit_blocks_are_unpacked_as_their_definition_says() -> None:
    generator = np.random.default_rng(3)
    scales = np.array([0.5, -0.125], dtype="<f2")
    codes = generator.integers(0, 256, size=(2, 16), dtype=np.uint8)
    data = b"".join(scale.tobytes() + own.tobytes() for scale, own in zip(scales, codes, strict=True))
    expected = []
    for scale, own in zip(scales, codes, strict=True):
        expected += [(int(byte) % 16 - 8) * float(scale) for byte in own]
        expected += [(int(byte) // 16 - 8) * float(scale) for byte in own]
    assert e5.unpack_quarters(data).tolist() == expected


def packed_e5() -> bytes:
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁a", "é"]
    blob = "".join(pieces).encode()
    offsets = np.cumsum([0, *(len(piece.encode()) for piece in pieces)]).astype("<u4")
    scores = np.arange(len(pieces), dtype="<f4")
    head = b"E5S1" + struct.pack("<I7ifi", 1, 32, 1, 2, 64, 6, 8, 2, 1e-12, 32)
    tokens = struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, len(blob)) + offsets.tobytes() + scores.tobytes() + blob
    replacements = struct.pack("<IBI", ord("ﬁ"), 1, ord("!")) + struct.pack("<IB", 1, 0)
    normalisation = struct.pack("<iI", 2, len(replacements)) + replacements
    plain = np.array([0.5, 2.0], dtype="<f4").tobytes()
    quarter = np.array(2.0, dtype="<f2").tobytes() + bytes(range(16))
    body = head + tokens + normalisation
    names = (("l0.q.b", 0, 2, plain), ("emb.word", 1, 32, quarter))
    start = len(body) + 4 + sum(2 + len(name) + 21 for name, *_ in names)
    directory, content = struct.pack("<i", len(names)), b""
    for name, kind, count, raw in names:
        directory += struct.pack("<H", len(name)) + name.encode()
        directory += struct.pack("<BIQQ", kind, count, start + len(content), len(raw))
        content += raw
    return body + directory + content


def test_an_e5_file_gives_sizes_pieces_normalisation_and_tensors() -> None:
    packed = e5.read(packed_e5())
    assert packed.sizes["hidden_size"] == 32 and packed.sizes["token_types"] == 2
    assert packed.pieces[4:] == [("▁a", 4.0), ("é", 5.0)]
    assert packed.normalisation == {"ﬁ": "!", "\x01": ""}
    assert packed.tensors["l0.q.b"].tolist() == [0.5, 2.0]
    assert packed.tensors["emb.word"][:2].tolist() == [-16.0, -14.0]


def test_a_file_of_another_format_is_no_e5_file() -> None:
    with pytest.raises(ValueError, match="not a packed E5 file"):
        e5.read(b"GGUF" + bytes(100))


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("emb.word", "embeddings.word_embeddings.weight"),
        ("emb.ln.b", "embeddings.LayerNorm.bias"),
        ("l3.ao.w", "encoder.layer.3.attention.output.dense.weight"),
        ("l11.oln.w", "encoder.layer.11.output.LayerNorm.weight"),
        ("l0.q.b", "encoder.layer.0.attention.self.query.bias"),
    ],
)
def test_e5_names_become_those_of_transformers(short: str, full: str) -> None:
    assert e5.renamed(short) == full


def test_what_a_normalisation_does_besides_nfkc_is_found() -> None:
    dropped, blanks = beyond_nfkc({"ﬁ": "fi", "\x01": "", "\t": " ", "\u200b": " "})
    assert (dropped, sorted(blanks)) == (["\x01"], ["\t", "\u200b"])
    assert character_class(blanks) == r"[\x{9}\x{200b}]"


def test_a_replacement_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="neither NFKC, dropped nor a blank: U\\+0041"):
        beyond_nfkc({"A": "B"})
