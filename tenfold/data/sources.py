"""Which rows there are: any source the recipe can name, as one memory-mapped table with a single shape.

Every source becomes an Arrow table with two columns: `row`, the row as JSON text, and `origin`, where it
stands (`orders.jsonl, line 3`). Rows with different keys, or with one key that holds text here and a list
there, then need no common schema; and what a million rows cost is disk, not memory. The table is written
once and kept under the hash of the source's content.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import datasets
import numpy as np
import pyarrow as pa
from datasets import Dataset

from tenfold import samples
from tenfold.data.arrow_cache import ROWS_PER_CHUNK, Columns, cached_table
from tenfold.data.examples import Example, to_example, to_question
from tenfold.data.formats import FORMATS, detect_format
from tenfold.data.labelled import Labelled
from tenfold.data.readers import KINDS, Record, kind_of, read_file, read_tables, read_whole_text
from tenfold.errors import DataError, Problem, shown

_SCHEMA = pa.schema([("row", pa.string()), ("origin", pa.string())])
_VERSION = 1  # raise it when the same file would give another table
_READERS = 2  # raise it when files are refused that were read before: then nobody has their tables from the cache
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+(:[^/:]+)?")
_ROWS_TO_JUDGE = 100


@dataclass(frozen=True)
class Rows:
    """Rows of one source, or some of them; nothing of their content is in memory.

    `columns` gives the source's column for each of ours that is named otherwise. `fingerprint` is equal for
    equal rows read the same way.
    """

    table: Dataset
    name: str
    format: str
    columns: Mapping[str, str]
    fingerprint: str
    folder: str = ""
    """Where the paths of audio files start that are relative."""

    def __len__(self) -> int:
        """How many rows."""
        return len(self.table)

    def origin(self, index: int) -> str:
        """Where the row stands, for messages: `orders.jsonl, line 3`."""
        return cast(str, self.table[index]["origin"])

    def row(self, index: int) -> dict[str, object]:
        """The row as the source has it."""
        return cast(dict[str, object], json.loads(self.table[index]["row"]))

    def example(self, index: int) -> Example | Labelled:
        """What the row says; raises `RowFault`."""
        return self.read(self.row(index))

    def read(self, row: Mapping[str, object]) -> Example | Labelled:
        """Return what a row of this source says; raises `RowFault`."""
        example = to_example(row, self.format, self.columns)
        return replace(example, folder=self.folder) if isinstance(example, Example) else example

    def read_question(self, row: Mapping[str, object]) -> tuple[Example, str | None]:
        """Return what a row of this source asks, and the reply where it has one; raises `RowFault`."""
        example, reference = to_question(row, self.format, self.columns)
        return replace(example, folder=self.folder), reference

    def chunks(self) -> Iterator[tuple[list[str], list[dict[str, object]]]]:
        """Yield (origins, rows) of all rows in order, at most `ROWS_PER_CHUNK` at a time."""
        for start in range(0, len(self), ROWS_PER_CHUNK):
            chunk = self.table[start : start + ROWS_PER_CHUNK]
            yield chunk["origin"], [json.loads(row) for row in chunk["row"]]

    def select(self, indices: np.ndarray) -> Rows:
        """Return the rows at `indices` (int64), in that order."""
        digest = hashlib.sha256(self.fingerprint.encode() + indices.astype("<i8").tobytes()).hexdigest()
        return replace(self, table=self.table.select(indices), fingerprint=digest)

    def with_columns(self, columns: Mapping[str, str]) -> Rows:
        """Return the same rows read by other `columns`: another answer to the same prompts, for example."""
        digest = hashlib.sha256(json.dumps([self.fingerprint, sorted(columns.items())]).encode()).hexdigest()
        return replace(self, columns=columns, fingerprint=digest)


def open_rows(
    source: str,
    *,
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    needed: Mapping[str, tuple[str, ...]] = FORMATS,
) -> Rows:
    """Return the rows of a source, wherever they are.

    A source is a file (`KINDS`), a folder of files of one kind, a folder that `save_to_disk` wrote, a hub id
    (`org/name` or `org/name:split`, split `train` when unnamed), or `sample:NAME`.

    Each format needs the columns that `needed` lists.
    A text file gives one row for each paragraph; in a folder of text files each file is one row.

    Raises:
        DataError: the source is missing, empty or unreadable, or its columns fit no format (or several).
        DiskFull: no room for the table.
    """
    columns = dict(columns or {})
    try:
        name, key, table = _table(source)
    except OSError as error:  # a name that is too long for one, for example
        raise DataError(Problem(shown(source), f"cannot be read: {error.strerror or error}")) from None
    if len(table) == 0:
        raise DataError(Problem(name, "holds no rows", "at least one row", "check that this is the file you mean"))
    found: dict[str, None] = {}
    for text in table[:_ROWS_TO_JUDGE]["row"]:
        found.update(dict.fromkeys(json.loads(text)))
    detected = detect_format(list(found), format, columns, name, needed=needed)
    settings = json.dumps([key, detected, sorted(columns.items())])
    return Rows(table, name, detected, columns, hashlib.sha256(settings.encode()).hexdigest(), _folder(source))


def _folder(source: str) -> str:
    path = Path(source).expanduser()
    return str(path.parent if path.is_file() else path if path.is_dir() else "")


def _table(source: str) -> tuple[str, str, Dataset]:
    """Return what messages call the source, the hash of its content, and its table."""
    if source.startswith("sample:"):
        return _table_of_file(samples.path(source.removeprefix("sample:")))
    path = Path(source).expanduser()
    if path.is_file():
        return _table_of_file(path)
    if source == "-" or (path.exists() and not path.is_dir()):
        raise DataError(Problem(source, "a pipe or device", "a file", "save the rows first, for example as rows.jsonl"))
    folder, _, split = source.rpartition(":") if not path.is_dir() else (source, "", "")
    folder_path = Path(folder or source).expanduser()
    if folder_path.is_dir():
        if (folder_path / "state.json").is_file() or (folder_path / "dataset_dict.json").is_file():
            return _table_of_dataset(load_saved(folder_path), source, split)
        return _table_of_folder(path)
    if _HUB_ID.fullmatch(source) and kind_of(path) is None:
        name, _, split = source.partition(":")
        return _table_of_dataset(_load_from_hub(name, split or "train"), source, "")
    raise DataError(Problem(source, "no such file or folder", remedy="check the path; it is taken from where you run"))


def _table_of_file(path: Path) -> tuple[str, str, Dataset]:
    key = _content_key([(path.name, path)])
    return path.name, key, _write_table(key, lambda: read_file(path, path.name))


def _table_of_folder(folder: Path) -> tuple[str, str, Dataset]:
    if not folder.is_dir():
        raise DataError(Problem(str(folder), "no such file or folder", remedy="check the path"))
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and kind_of(path)]
    paths = [path for path in paths if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    kinds = {kind_of(path) for path in paths}
    is_text = kinds <= {".txt", ".md"}
    if not kinds or (len(kinds) > 1 and not is_text):
        found = f"files of several kinds: {', '.join(sorted(map(str, kinds)))}" if kinds else "no file that can be read"
        raise DataError(
            Problem(str(folder), found, f"one of {', '.join(KINDS)}", "name one file, or a folder of one kind")
        )
    named = [(f"{folder.name}/{path.relative_to(folder).as_posix()}", path) for path in paths]
    key = _content_key(named)

    def records() -> Iterator[Record]:
        for name, path in named:
            yield from read_whole_text(path, name) if is_text else read_file(path, name)

    return str(folder), key, _write_table(key, records)


def load_saved(folder: Path) -> Dataset | datasets.DatasetDict:
    """Return the data set that `save_to_disk` wrote into `folder`.

    Raises:
        DataError: a file of it is missing or damaged.
    """
    try:
        loaded = datasets.load_from_disk(str(folder))
    except Exception as error:  # a damaged file ends in errors of many unrelated types
        raise DataError(Problem(str(folder), f"a damaged saved data set: {error}", remedy="save it again")) from None
    parts = loaded.values() if isinstance(loaded, datasets.DatasetDict) else (loaded,)
    files = [os.path.abspath(file["filename"]) for part in parts for file in part.cache_files]
    outside = [file for file in files if not Path(file).is_relative_to(os.path.abspath(folder))]
    if outside:
        found = f"a saved data set that names a file outside of it: {outside[0]}"
        raise DataError(Problem(str(folder), found, remedy="save it again"))
    return loaded


def _load_from_hub(name: str, split: str) -> Dataset:
    try:
        return datasets.load_dataset(name, split=split)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            Problem(
                name,
                f"neither a path here nor a data set that the hub gives (split {split!r}): {reason}",
                "",
                "check the name",
            )
        ) from None


def _table_of_dataset(dataset: Dataset | datasets.DatasetDict, name: str, split: str) -> tuple[str, str, Dataset]:
    if isinstance(dataset, datasets.DatasetDict):
        split = split or "train"
        if split not in dataset:
            raise DataError(Problem(name, f"no split {split!r}", ", ".join(dataset), "name one: path:split"))
        dataset = dataset[split]
    elif split:
        raise DataError(Problem(name, "a saved data set without splits", remedy=f"leave out `:{split}`"))
    files = [Path(file["filename"]) for file in dataset.cache_files]
    key = _content_key([(name, file) for file in files])
    tables = dataset.with_format("arrow")
    return name, key, _write_table(key, lambda: read_tables(tables.iter(ROWS_PER_CHUNK), name))


def _content_key(named: list[tuple[str, Path]]) -> str:
    """Return the hash of the files' content and names (origins quote the names)."""
    digest = hashlib.sha256(f"rows {_VERSION}".encode())
    for name, path in named:
        try:
            digest.update(json.dumps([name, path.stat().st_size]).encode())
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise DataError(
                Problem(name, f"cannot be read: {error.strerror}", remedy="check who may read it")
            ) from None
    return digest.hexdigest()


def _write_table(key: str, records: Callable[[], Iterator[Record]]) -> Dataset:
    return cached_table(f"rows-{_READERS}-{key}", _SCHEMA, lambda: _chunked(records()))


def _chunked(records: Iterator[Record]) -> Iterator[Columns]:
    chunk: Columns = {"row": [], "origin": []}
    for origin, row in records:
        chunk["row"].append(row)
        chunk["origin"].append(origin)
        if len(chunk["row"]) == ROWS_PER_CHUNK:
            yield chunk
            chunk = {"row": [], "origin": []}
    if chunk["row"]:
        yield chunk
