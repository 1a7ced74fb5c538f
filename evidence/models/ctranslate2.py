"""Which tensors a CTranslate2 model file holds: its whole binary layout, read without that library.

Source: CTranslate2's `Model::load` (file format version 6). All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

VERSIONS = (5, 6)
DTYPES: Mapping[int, np.dtype[np.generic]] = {
    0: np.dtype("<f4"),
    1: np.dtype("i1"),
    2: np.dtype("<i2"),
    3: np.dtype("<i4"),
    4: np.dtype("<f2"),
}


@dataclass(frozen=True)
class ModelFile:
    """What a file says: the kind of model (`WhisperSpec`), and its variables by name, each in its stored type."""

    kind: str
    variables: Mapping[str, np.ndarray]


def read_model(path: Path) -> ModelFile:
    """Return the variables in `path`, aliases resolved.

    Raises:
        ValueError: another version of the layout, an unknown type, or bytes that are left over.
    """
    cursor = _Cursor(path.read_bytes())
    (version,) = cursor.numbers("<I")
    if version not in VERSIONS:
        raise ValueError(f"{path}: layout version {version}, expected one of {VERSIONS}")
    kind = cursor.text()
    _, count = cursor.numbers("<II")
    variables = dict(_variable(cursor) for _ in range(count))
    (aliases,) = cursor.numbers("<I")
    for _ in range(aliases):
        alias = cursor.text()
        variables[alias] = variables[cursor.text()]
    if cursor.left:
        raise ValueError(f"{path}: {cursor.left} bytes are left after the last variable")
    return ModelFile(kind, variables)


def _variable(cursor: _Cursor) -> tuple[str, np.ndarray]:
    name = cursor.text()
    (rank,) = cursor.numbers("<B")
    shape = cursor.numbers(f"<{rank}I")
    code, size = cursor.numbers("<BI")
    if code not in DTYPES:
        raise ValueError(f"{name}: unknown type {code}")
    return name, np.frombuffer(cursor.take(size), dtype=DTYPES[code]).reshape(shape)


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise ValueError(f"the file ends {size - self.left} bytes too early")
        self._at += size
        return self._data[self._at - size : self._at]

    def numbers(self, layout: str) -> tuple[int, ...]:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))

    def text(self) -> str:
        (length,) = self.numbers("<H")
        return self.take(length).rstrip(b"\0").decode("utf-8")
