"""How a table gets onto disk once: streamed into an Arrow file under a key, then memory-mapped for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
from datasets import Dataset

from tenfold.files import new_file
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
    if not path.exists():
        _write(path, schema, make_chunks())
    try:
        return Dataset.from_file(str(path))
    except pa.ArrowException:  # damaged on disk: it can be made again
        path.unlink()
        return cached_table(key, schema, make_chunks)


def _write(path: Path, schema: pa.Schema, chunks: Iterator[Columns]) -> None:
    remedy = "free some space there, or point TENFOLD_CACHE elsewhere"
    with new_file(path, remedy=remedy) as file, pa.ipc.new_stream(file, schema) as writer:
        for chunk in chunks:
            writer.write_batch(pa.record_batch(chunk, schema=schema))
