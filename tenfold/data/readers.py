"""How each kind of file is read: as a stream of `(origin, row as JSON text)`, never a whole file at once.

An origin is what an error message says a row comes from, for example `orders.jsonl, line 3`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from tenfold.data.json_stream import (
    DECODER,
    MOST_BYTES,
    JsonDocument,
    RepeatedKey,
    json_kind,
    require_shallow,
    too_long,
)
from tenfold.errors import DataError, Problem

Record = tuple[str, str]


def read_file(path: Path, name: str) -> Iterator[Record]:
    """Yield the rows of one file of a known kind, in order; `name` is what messages call it.

    Raises:
        DataError: the kind is unknown, or the content is not what the kind promises.
    """
    kind = kind_of(path)
    if kind is None:
        raise DataError(
            Problem(name, f"unknown kind of file {path.suffix!r}", ", ".join(KINDS), "convert it, or rename it")
        )
    try:
        with _open(path) as file:
            yield from KINDS[kind](file, name)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(Problem(name, f"a damaged gzip file: {error}", remedy="make or fetch it again")) from None
    except OSError as error:
        raise DataError(Problem(name, f"cannot be read: {error.strerror or error}")) from None


def kind_of(path: Path) -> str | None:
    """Return the file's kind (a key of `KINDS`) by its name without a `.gz`, or None if it is unknown."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    kind = suffixes[-1] if suffixes else ""
    return kind if kind in KINDS else None


def read_tables(tables: Iterable[pa.Table | pa.RecordBatch], name: str) -> Iterator[Record]:
    """Yield the rows of Arrow tables; values that JSON has no word for (dates, bytes) become short texts."""
    number = 0
    for table in tables:
        for row in _to_rows(table, f"{name}, after row {number}"):
            number += 1
            where = f"{name}, row {number}"
            require_shallow(where, row)
            yield where, json.dumps(row, ensure_ascii=False, default=_as_text)


def _to_rows(table: pa.Table | pa.RecordBatch, where: str) -> list[dict[str, object]]:
    try:
        rows: list[dict[str, object]] = table.to_pylist()
    except (ValueError, OverflowError, KeyError, RecursionError) as error:
        # text that is not UTF-8, a date after the year 9999, a time zone that nobody knows
        reason = f"a value that cannot be read: {error}"
        raise DataError(Problem(where, reason, remedy="write the table again without it")) from None
    return rows


def _as_text(value: object) -> str:
    return f"<{len(value)} bytes>" if isinstance(value, bytes) else str(value)


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Yield numbered lines without surrounding blanks; only a line feed ends a line, as JSON Lines says."""
    for number, raw in enumerate(iter(lambda: file.readline(MOST_BYTES + 1), b""), 1):
        if len(raw) > MOST_BYTES:
            raise too_long(f"{name}, line {number}")
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf8(f"{name}, line {number}", error) from None
        yield number, line.strip()


def _not_utf8(where: str, error: UnicodeDecodeError) -> DataError:
    byte = error.object[error.start]
    return DataError(Problem(where, f"not UTF-8 (byte 0x{byte:02x})", remedy="save the file as UTF-8"))


def _read_jsonl(file: BinaryIO, name: str) -> Iterator[Record]:
    for number, line in _lines(file, name):
        if not line:
            continue
        where = f"{name}, line {number}"
        try:
            row = DECODER.decode(line)
        except (ValueError, RecursionError) as error:
            remedy = "mend the line; every line is one JSON object"
            if number == 1 and line in ("[", "{"):
                remedy = "this looks like one JSON document over many lines: rename the file to end in .json"
            raise DataError(Problem(where, _told(error), remedy=remedy)) from None
        if not isinstance(row, dict):
            raise not_an_object(where, row)
        require_shallow(where, row)
        yield where, line


def _told(error: ValueError | RecursionError) -> str:
    if isinstance(error, RepeatedKey):
        return str(error)
    if isinstance(error, RecursionError):
        return "malformed JSON: lists and objects too deep within one another"
    found = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else str(error)
    return f"malformed JSON: {found}"


def not_an_object(where: str, value: object) -> DataError:
    """Return the error for a row that is not a JSON object."""
    return DataError(Problem(where, f"{json_kind(value)}, not a row", 'a JSON object such as {"prompt": "…"}'))


def _read_json(file: BinaryIO, name: str) -> Iterator[Record]:
    if _is_json_lines(file):
        yield from _read_jsonl(file, name)
        return
    try:
        with io.TextIOWrapper(file, encoding="utf-8-sig") as text:
            for number, (line, row) in enumerate(JsonDocument(text, name).rows(), 1):
                where = f"{name}, line {line}, row {number}"  # many may stand on one line
                if not isinstance(row, dict):
                    raise not_an_object(where, row)
                require_shallow(where, row)
                yield where, _as_json(row)
    except UnicodeDecodeError as error:
        raise _not_utf8(name, error) from None


def _as_json(row: object) -> str:
    text = json.dumps(row, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: kept as its escape, and told where the row is read
        return json.dumps(row)
    return text


def _is_json_lines(file: BinaryIO) -> bool:
    """Say whether a `.json` file holds JSON Lines, as many published data sets do; rewinds the file."""
    first = file.readline(1 << 20).lstrip(b"\xef\xbb\xbf").strip()
    file.seek(0)
    if not first.startswith(b"{") or not first.endswith(b"}"):
        return False
    try:
        row = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return not isinstance(row.get("data"), list)


def _read_csv(file: BinaryIO, name: str, delimiter: str = ",") -> Iterator[Record]:
    line = 1
    try:
        with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(_bounded(text, name), delimiter=delimiter, strict=True)
            header: list[str] = []
            while (cells := _next_cells(reader)) is not None:
                where, line = f"{name}, line {line}", reader.line_num + 1
                if not header:
                    header = _header(cells, where)
                elif cells:
                    yield where, _csv_row(header, cells, where)
    except csv.Error as error:
        raise DataError(Problem(f"{name}, line {line}", f"malformed CSV: {error}")) from None
    except UnicodeDecodeError as error:
        raise _not_utf8(f"{name}, line {line} or soon after", error) from None


def _bounded(text: TextIO, name: str) -> Iterator[str]:
    for number, line in enumerate(iter(lambda: text.readline(MOST_BYTES + 1), ""), 1):
        if len(line) > MOST_BYTES:
            raise too_long(f"{name}, line {number}")
        yield line


def _next_cells(reader: Iterator[list[str]]) -> list[str] | None:
    # The csv module's limit of 131,072 characters a cell is a process-wide setting: put it back.
    before = csv.field_size_limit(MOST_BYTES)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(before)


def _csv_row(header: list[str], cells: list[str], where: str) -> str:
    if len(cells) != len(header):
        found = f"{len(cells)} cells where the header has {len(header)}"
        raise DataError(Problem(where, found, remedy="quote cells that hold a delimiter or a line break"))
    return json.dumps(dict(zip(header, cells, strict=True)), ensure_ascii=False)


def _header(cells: list[str], where: str) -> list[str]:
    twice = sorted(cell for cell, count in Counter(cells).items() if count > 1)
    if twice:
        raise DataError(Problem(where, f"column {twice[0]!r} is there twice", remedy="give every column its own name"))
    return cells


def _read_tsv(file: BinaryIO, name: str) -> Iterator[Record]:
    yield from _read_csv(file, name, delimiter="\t")


def _read_parquet(file: BinaryIO, name: str) -> Iterator[Record]:
    try:
        yield from read_tables(pq.ParquetFile(file).iter_batches(batch_size=1000), name)
    except (pa.ArrowException, ValueError, LookupError, TypeError, ArithmeticError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(Problem(name, f"not a readable Parquet file: {reason}", remedy="write it again")) from None


def _read_text(file: BinaryIO, name: str) -> Iterator[Record]:
    """Yield one raw-text row for each paragraph: text between blank lines, its own line breaks kept."""
    paragraph: list[str] = []
    start = 1
    for number, line in _lines(file, name):
        if line:
            start = start if paragraph else number
            paragraph.append(line)
        elif paragraph:
            yield f"{name}, line {start}", json.dumps({"text": "\n".join(paragraph)}, ensure_ascii=False)
            paragraph = []
    if paragraph:
        yield f"{name}, line {start}", json.dumps({"text": "\n".join(paragraph)}, ensure_ascii=False)


def read_whole_text(path: Path, name: str) -> Iterator[Record]:
    """Yield the text file as one raw-text row, or nothing if it is blank."""
    with _open(path) as file:
        content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise too_long(name)
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise _not_utf8(name, error) from None
    if text.strip():
        yield name, json.dumps({"text": text.strip()}, ensure_ascii=False)


KINDS: dict[str, Callable[[BinaryIO, str], Iterator[Record]]] = {
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".parquet": _read_parquet,
    ".txt": _read_text,
    ".md": _read_text,
}
"""Every kind of file that can be opened, by the ending of its name; each may have `.gz` after it."""
