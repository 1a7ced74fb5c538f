"""What the header of a safetensors file says, read without the tensors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from tenfold.errors import ModelError, Problem, shown

HEADER_AT_MOST = 100_000_000
"""Bytes; safetensors itself reads no longer one."""

PICKLES = (b"\x80", b"PK\x03\x04")
"""How a pickle and the archive that `torch.save` puts it into begin."""

AGAIN = "get the model again"


def num_parameters(path: Path) -> int:
    """Return how many parameters the file holds.

    Raises:
        ModelError: it is no safetensors file, or only a part of one.
    """
    try:
        return sum(math.prod(tensor["shape"]) for tensor in _tensors(path).values())
    except (LookupError, TypeError) as error:
        raise _no_safetensors(path, f"its header is damaged: {shown(error)}") from error


def require_safetensors(path: Path) -> None:
    """Check that the file is a safetensors file and there to its last byte; tensors are not read.

    Raises:
        ModelError: it is not; the message says what it is instead, where that shows.
    """
    _tensors(path)


def _tensors(path: Path) -> dict[str, Any]:
    """Return what the header says of each tensor."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            first = file.read(9)
            length = int.from_bytes(first[:8], "little")
            if len(first) < 9 or length > HEADER_AT_MOST or first[8:] != b"{":
                raise _told_by_its_beginning(path, first, size)
            if 8 + length > size:
                raise _cut(path, size, f"its header alone has {length:,}")
            file.seek(8)
            header = json.loads(file.read(length))
        tensors = {name: tensor for name, tensor in header.items() if name != "__metadata__"}
        end = 8 + length + max((int(tensor["data_offsets"][1]) for tensor in tensors.values()), default=0)
    except OSError as error:
        remedy = "let yourself read it" if isinstance(error, PermissionError) else AGAIN
        raise ModelError(Problem(str(path), f"cannot be read: {error.strerror}", remedy=remedy)) from error
    except (ValueError, OverflowError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _no_safetensors(path, f"its header is damaged: {shown(error)}") from error
    if end > size:
        raise _cut(path, size, f"its header tells of {end:,}")
    if end < size:
        raise _no_safetensors(path, f"{size - end:,} bytes more than its header tells of")
    return tensors


def _told_by_its_beginning(path: Path, first: bytes, size: int) -> ModelError:
    if size < 9:
        return _cut(path, size, "a header has more")
    if first.startswith(PICKLES):
        remedy = (
            "get the model with safetensors weights, or where you trust it convert it with"
            " save_pretrained(safe_serialization=True): a pickle can run code when it is loaded"
        )
        return _no_safetensors(path, "by its first bytes a pickle", remedy)
    if first == b"version h":
        return _no_safetensors(path, "a pointer of Git LFS to the file", "fetch the file itself: git lfs pull")
    return _no_safetensors(path, "it has no header of one")


def _no_safetensors(path: Path, why: str, remedy: str = AGAIN) -> ModelError:
    return ModelError(Problem(str(path), f"no safetensors file: {why}", remedy=remedy))


def _cut(path: Path, size: int, of: str) -> ModelError:
    found = f"cut short: {size:,} bytes are there, and {of}"
    return ModelError(Problem(str(path), found, remedy="get the file again: it was not copied or fetched to its end"))
