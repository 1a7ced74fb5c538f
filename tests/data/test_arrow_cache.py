"""A table is on disk whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from tenfold.data.arrow_cache import Columns, cached_table
from tenfold.errors import DiskFull

SCHEMA = pa.schema([("number", pa.int64())])


def chunks() -> Iterator[Columns]:
    yield {"number": [1, 2]}
    yield {"number": [3]}


def broken() -> Iterator[Columns]:
    yield {"number": [1, 2]}
    raise RuntimeError("killed")


def test_table_holds_all_chunks_and_is_written_once(cache: Path) -> None:
    assert cached_table("k", SCHEMA, chunks)["number"][:] == [1, 2, 3]
    assert cached_table("k", SCHEMA, broken)["number"][:] == [1, 2, 3]


def test_interrupted_table_is_not_kept(cache: Path) -> None:
    with pytest.raises(RuntimeError):
        cached_table("k", SCHEMA, broken)
    assert not list((cache / "data").iterdir())
    assert len(cached_table("k", SCHEMA, chunks)) == 3


def test_full_disk_is_told_and_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="no space left"):
        cached_table("k", SCHEMA, chunks)
    assert not list((cache / "data").iterdir())
