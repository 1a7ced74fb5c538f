"""How a table gets onto disk once: streamed into an Arrow file under a key, then memory-mapped for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
from datasets import Dataset

from tenfold.files import new_file, seal_json, sealed_json, sha256_file
from tenfold.paths import cache_folder

ROWS_PER_CHUNK = 1000
"""Rows in memory at once, here and in everything that streams over a table."""

Columns = dict[str, list[object]]


def cached_table(key: str, schema: pa.Schema, make_chunks: Callable[[], Iterator[Columns]]) -> Dataset:
    """Return the memory-mapped table kept under `key`; when there is none yet, write it from `make_chunks()`.

    The file appears under its name only when whole, so a run that was killed leaves nothing that looks
    finished. An exception from `make_chunks` passes through, and nothing is kept.

    Raises:
        DiskFull: no room for the table.
    """
    path = cache_folder("data") / f"{key}.arrow"
    if not _is_whole(path):
        _write(path, schema, make_chunks())
    return Dataset.from_file(str(path))


def _is_whole(path: Path) -> bool:
    """Whether the table is there as it was written; to read it for its hash takes half a second a gigabyte or more."""
    told = sealed_json(path.with_suffix(".json"))
    return told is not None and path.is_file() and told.get("sha256") == sha256_file(path)


def _write(path: Path, schema: pa.Schema, chunks: Iterator[Columns]) -> None:
    remedy = "free some space there, or point TENFOLD_CACHE elsewhere"
    with new_file(path, remedy=remedy) as file, pa.ipc.new_stream(file, schema) as writer:
        for chunk in chunks:
            writer.write_batch(pa.record_batch(chunk, schema=schema))
    seal_json(path.with_suffix(".json"), {"sha256": sha256_file(path)})
