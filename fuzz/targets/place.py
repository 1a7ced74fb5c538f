"""Where inputs lie that are read from files: in memory where the system has such a place."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path


@cache
def scratch() -> Path:
    """Return a folder of this process's own, which goes with it."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="tenfold-fuzz-", dir=memory if memory.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def with_one_replaced(folder: Path, sound: Mapping[str, bytes], content: bytes) -> str:
    """Fill `folder` with `sound` files, but for the one that the input's first byte names: the rest of it is that.

    Return the name of the one that was replaced.
    """
    names = sorted(sound)
    chosen = names[content[0] % len(names)] if content else names[0]
    before = _REPLACED.get(folder)
    for name in sound if before is None else {before, chosen}:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[1:] if name == chosen else sound[name])
    _REPLACED[folder] = chosen
    return chosen


_REPLACED: dict[Path, str] = {}
"""The file of each folder that is not the sound one."""
