"""Whether what a GGUF file says of itself lies within the file: asked before a library takes its word for it.

The reader in `gguf` follows counts past the file's end, and makes an object of every value in an array.

Source: the GGUF specification, versions 2 and 3, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
from pathlib import Path

from gguf import GGML_QUANT_SIZES, GGUF_DEFAULT_ALIGNMENT, GGUF_VERSION, GGMLQuantizationType, GGUFValueType

from tenfold.errors import ModelError, Problem, shown

MOST_KEY_BYTES, MOST_NAME_BYTES, MOST_DIMENSIONS = 65_535, 64, 4
"""Of a key and of a tensor's name and shape, as the specification says."""

MOST_NESTED = 4
"""Arrays within one another; the specification names no limit, and no key of a model's that has any."""

MOST_VALUES = 2**22
"""In all arrays together: 262,144 tokens and their merges are 1.3 million. The reader takes 0.7 kB each (measured)."""

MOST_KEYS = 2**16
"""Of keys, and of tensors: a model has some hundreds of each. The reader takes 3 kB a key (measured)."""

_BYTES = {
    **dict.fromkeys((GGUFValueType.UINT8, GGUFValueType.INT8, GGUFValueType.BOOL), 1),
    **dict.fromkeys((GGUFValueType.UINT16, GGUFValueType.INT16), 2),
    **dict.fromkeys((GGUFValueType.UINT32, GGUFValueType.INT32, GGUFValueType.FLOAT32), 4),
    **dict.fromkeys((GGUFValueType.UINT64, GGUFValueType.INT64, GGUFValueType.FLOAT64), 8),
}


def require_sound_gguf(path: Path) -> None:
    """Check the header of the file at `path`; no tensor is read.

    Raises:
        ModelError: a version other than 2 or 3, a count, length, type, shape or offset that cannot be, a name twice, or
            tensors that reach into one another or out of the file.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _Header(content).check()
    except (OSError, ValueError) as error:
        remedy = "get the file again, or use the model's safetensors folder or hub id instead"
        raise ModelError(Problem("model.name", f"{path} is no sound GGUF file: {error}", remedy=remedy)) from error


class _Header:
    """A header that is read from its beginning to its end; `at` is the next byte."""

    def __init__(self, content: mmap.mmap) -> None:
        self.content = content
        self.at = 0
        self.num_values = 0

    def check(self) -> None:
        """Read all of it; raises `ValueError` with what is wrong."""
        if self.take(4) != b"GGUF":
            raise ValueError("it does not start with GGUF")
        version = self.number(4)
        if version not in (2, GGUF_VERSION):
            raise ValueError(f"version {version}, not 2 or {GGUF_VERSION}")
        num_tensors, num_keys = self.number(8), self.number(8)
        if max(num_tensors, num_keys) > MOST_KEYS:
            raise ValueError(f"{num_tensors} tensors and {num_keys} keys, more than {MOST_KEYS}")
        alignment, keys = GGUF_DEFAULT_ALIGNMENT, set[str]()
        for _ in range(num_keys):
            key, kind = self.new_name(keys, MOST_KEY_BYTES), self.number(4)
            value = self.skip_value(kind)
            if key == "general.alignment":
                is_number = kind == GGUFValueType.UINT32
                alignment = int.from_bytes(self.content[value : self.at], "little") if is_number else 0
                if alignment % 8 or alignment.bit_count() != 1:
                    raise ValueError("general.alignment is no power of two from 8 on")
        names = set[str]()
        extents = sorted(self.extent(names, alignment) for _ in range(num_tensors))
        free, last = self.at + -self.at % alignment, ""
        data, end = free, len(self.content)
        for offset, num_bytes, name in extents:
            if data + offset < free:
                raise ValueError(f"the tensors {last} and {name} overlap")
            free, last = data + offset + num_bytes, name
            if free > end:
                raise ValueError(f"the tensor {name} ends at byte {free} of {end}")

    def skip(self, num_bytes: int) -> int:
        """Go on by so many bytes; return where they begin."""
        begin, left = self.at, len(self.content) - self.at
        if num_bytes > left:
            raise ValueError(f"{num_bytes} bytes at byte {begin}, of which {left} are there")
        self.at += num_bytes
        return begin

    def take(self, num_bytes: int) -> bytes:
        return self.content[self.skip(num_bytes) : self.at]

    def number(self, num_bytes: int) -> int:
        return int.from_bytes(self.take(num_bytes), "little")

    def new_name(self, known: set[str], most_bytes: int) -> str:
        num_bytes = self.number(8)
        if num_bytes > most_bytes:
            raise ValueError(f"a name of {num_bytes} bytes")
        name = self.take(num_bytes).decode()
        if name in known:
            raise ValueError(f"{shown(name)} twice")
        known.add(name)
        return name

    def skip_value(self, kind: int, depth: int = 0) -> int:
        """Go on by a value of that type; return where it begins."""
        if kind in _BYTES:
            return self.skip(_BYTES[kind])
        begin = self.at
        if kind == GGUFValueType.STRING:
            self.skip(self.number(8))
        elif kind == GGUFValueType.ARRAY and depth < MOST_NESTED:
            kind, count = self.number(4), self.number(8)
            self.num_values += count
            if self.num_values > MOST_VALUES:
                raise ValueError(f"more than {MOST_VALUES} values in arrays")
            if kind in _BYTES:
                self.skip(count * _BYTES[kind])
            else:
                for _ in range(count):
                    self.skip_value(kind, depth + 1)
        else:
            raise ValueError(f"a value of type {kind} at byte {begin}, {depth} arrays deep")
        return begin

    def extent(self, names: set[str], alignment: int) -> tuple[int, int, str]:
        """Read what is said of a tensor; return its offset in the data, its bytes, and its name as it is shown."""
        name, num_dimensions = shown(self.new_name(names, MOST_NAME_BYTES)), self.number(4)
        if num_dimensions > MOST_DIMENSIONS:
            raise ValueError(f"{num_dimensions} dimensions of the tensor {name}")
        shape = [self.number(8) for _ in range(num_dimensions)]
        kind, offset = self.number(4), self.number(8)
        per_block, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        if not all(shape) or (shape or [1])[0] % per_block or offset % alignment:
            raise ValueError(f"shape {shape}, type {kind} and offset {offset} of the tensor {name} do not fit")
        return offset, math.prod(shape) // per_block * block_bytes, name
