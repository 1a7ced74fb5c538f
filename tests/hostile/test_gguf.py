"""A GGUF file whose header lies is refused before a library reads it; sound ones are not."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Quant
from gguf import GGUFValueType as Kind

from tenfold.errors import ModelError
from tenfold.models.gguf_header import MOST_KEYS, MOST_VALUES, require_sound_gguf
from tenfold.models.sources import resolve
from tenfold.recipe import ModelSection


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: bytes, shape: tuple[int, ...], kind: int = Quant.F32, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def array(kind: int, count: int, values: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + values


def file(pairs: tuple[bytes, ...] = (), tensors: tuple[bytes, ...] = (), *, data: int = 64, version: int = 3) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join((*pairs, *tensors))
    return head + bytes(-len(head) % 32 + data)


NESTED = array(Kind.ARRAY, 1) * 9 + array(Kind.UINT8, 1, b"a")

HOSTILE = {
    "empty": (b"", "empty file"),
    "tensors beyond the file": (b"GGUF" + struct.pack("<IQQ", 3, MOST_KEYS, 0), "of which 0 are there"),
    "keys beyond the file": (b"GGUF" + struct.pack("<IQQ", 3, 0, MOST_KEYS), "of which 0 are there"),
    "too many tensors": (b"GGUF" + struct.pack("<IQQ", 3, MOST_KEYS + 1, 0), "more than 65536"),
    "too many keys": (b"GGUF" + struct.pack("<IQQ", 3, 0, MOST_KEYS + 1), "more than 65536"),
    "version 1": (file(version=1), "version 1, not 2 or 3"),
    "big-endian": (file(version=3 << 24), "version 50331648"),
    "endless text": (file((pair(b"a", Kind.STRING, struct.pack("<Q", 2**63)),)), "9223372036854775808 bytes"),
    "endless key": (file((struct.pack("<Q", 2**40),)), "a name of 1099511627776 bytes"),
    "endless array": (file((pair(b"a", Kind.ARRAY, array(Kind.UINT8, 2**63)),)), "values in arrays"),
    "array beyond the file": (file((pair(b"a", Kind.ARRAY, array(Kind.UINT64, MOST_VALUES)),)), "33554432 bytes"),
    "texts beyond the file": (file((pair(b"a", Kind.ARRAY, array(Kind.STRING, 2**20)),)), "8 bytes at byte"),
    "nested": (file((pair(b"a", Kind.ARRAY, NESTED),)), "a value of type 9 at byte 85, 4 arrays deep"),
    "unknown type": (file((pair(b"a", 13, b""),)), "a value of type 13"),
    "key twice": (file((pair(b"a", Kind.BOOL, b"\0"),) * 2), "'a' twice"),
    "key of no text": (file((pair(b"\xff", Kind.BOOL, b"\0"),)), "can't decode"),
    "alignment 0": (file((pair(b"general.alignment", Kind.UINT32, bytes(4)),)), "no power of two"),
    "alignment 24": (file((pair(b"general.alignment", Kind.UINT32, struct.pack("<I", 24)),)), "no power of two"),
    "alignment as text": (file((pair(b"general.alignment", Kind.STRING, text(b"32")),)), "no power of two"),
    "alignment 2^31": (
        file((pair(b"general.alignment", Kind.UINT32, struct.pack("<I", 2**31)),), (tensor(b"a", (1,)),)),
        "ends at byte 2147483652 of",
    ),
    "tensor beyond the file": (file((), (tensor(b"a", (17,)),)), "the tensor 'a' ends at byte 132 of 128"),
    "offset beyond the file": (file((), (tensor(b"a", (1,), offset=2**63),)), "ends at byte 9223372036854775876"),
    "offset between": (file((), (tensor(b"a", (1,), offset=4),)), "offset 4 of the tensor 'a' do not fit"),
    "shape that wraps round": (file((), (tensor(b"a", (2**32, 2**32)),)), "ends at byte 73786976294838206560 of"),
    "shape of nothing": (file((), (tensor(b"a", (0, 2**62)),)), "do not fit"),
    "shape of five": (file((), (tensor(b"a", (1,) * 5),)), "5 dimensions"),
    "shape of many": (file((), (text(b"a") + struct.pack("<I", 2**32 - 1),)), "4294967295 dimensions"),
    "half a block": (file((), (tensor(b"a", (16,), Quant.Q4_0),)), "do not fit"),
    "unknown quantisation": (file((), (tensor(b"a", (1,), 999),)), "999 is not a valid GGMLQuantizationType"),
    "tensor twice": (file((), (tensor(b"a", (1,)), tensor(b"a", (1,), offset=32))), "'a' twice"),
    "tensors on one place": (file((), (tensor(b"a", (9,)), tensor(b"b", (1,), offset=32))), "'a' and 'b' overlap"),
    "long name": (file((), (tensor(b"a" * 65, (1,)),)), "a name of 65 bytes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_gguf_file_with_a_hostile_header_is_refused(name: str, tmp_path: Path) -> None:
    content, told = HOSTILE[name]
    (tmp_path / "a.gguf").write_bytes(content)
    with pytest.raises(ModelError) as refused:
        resolve(ModelSection(name=str(tmp_path / "a.gguf")))
    assert "a.gguf is no sound GGUF file: " in str(refused.value) and told in str(refused.value)


def test_every_part_of_a_sound_gguf_file_is_needed(tmp_path: Path) -> None:
    writer, path = gguf.GGUFWriter(tmp_path / "a.gguf", "llama"), tmp_path / "a.gguf"
    writer.add_custom_alignment(64)
    writer.add_token_list(["a", "é", "<s>"])
    writer.add_token_scores([0.5, 0.25, 0.0])
    writer.add_array("general.tags", [])
    for kind, value in ((Kind.INT8, -1), (Kind.UINT16, 1), (Kind.INT64, 1), (Kind.FLOAT64, 1.0), (Kind.BOOL, True)):
        writer.add_key_value(kind.name.lower(), value, kind)
    writer.add_tensor("whole", np.ones((3, 5), np.float32))
    writer.add_tensor("half", np.ones((2, 2, 2), np.float16))
    writer.add_tensor("quantised", np.zeros((2, 68), np.uint8), raw_dtype=Quant.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    require_sound_gguf(path)
    content = path.read_bytes()
    end = max(tensor.data_offset + tensor.n_bytes for tensor in gguf.GGUFReader(path).tensors)
    for num_bytes in (*range(end - 200), end - 1):
        path.write_bytes(content[:num_bytes])
        with pytest.raises(ModelError):
            require_sound_gguf(path)
    path.write_bytes(content[:end])
    require_sound_gguf(path)


def test_arrays_within_arrays_are_read_where_they_are_few(tmp_path: Path) -> None:
    inner = array(Kind.ARRAY, 2, array(Kind.UINT8, 1, b"a") + array(Kind.STRING, 1, text(b"bc")))
    (tmp_path / "a.gguf").write_bytes(file((pair(b"a", Kind.ARRAY, inner),), (tensor(b"", ()),)))
    require_sound_gguf(tmp_path / "a.gguf")


def test_the_size_of_every_quantisation_is_known() -> None:
    assert set(gguf.GGML_QUANT_SIZES) == set(Quant)
