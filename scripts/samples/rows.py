"""How every set is ordered, split and written, so that the same packages always give the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

Row = dict[str, object]


def draw(*key: object) -> float:
    """Return a number in [0, 1) that depends on `key` alone: the same on every machine and Python."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def side(*key: object, validation: float = 0.1, test: float = 0.2) -> str:
    """Return the split of the group named by `key`; whole groups go to one side, shares hold on average."""
    position = draw("side", *key)
    if position < test:
        return "test"
    return "validation" if position < test + validation else "train"


def one_line(text: str) -> str:
    """Return `text` with every run of white space made one blank."""
    return " ".join(text.split())


def plain(text: str) -> str:
    """Return `text` as letters and digits in lower case: equal for texts that differ in typography only."""
    # Marks are the vowels of scripts such as Thai; without them different words would look equal.
    kept = (sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in text.casefold())
    return one_line("".join(kept))


def drop_repeats(rows: Iterable[Row], text: str, label: str | None = None) -> list[Row]:
    """Return the first row of each normalised `text`; none where `label` differs between the repeats."""
    first: dict[str, Row] = {}
    contradicted: set[str] = set()
    for row in rows:
        key = plain(str(row[text]))
        kept = first.setdefault(key, row)
        if label is not None and kept[label] != row[label]:
            contradicted.add(key)
    return [row for key, row in first.items() if key not in contradicted]


def packed(rows: Iterable[Mapping[str, object]]) -> bytes:
    """Return gzip-packed JSON lines without name or time stamp, so equal rows give equal bytes."""
    raw = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as stream:
        stream.write(raw.encode("utf-8"))
    return buffer.getvalue()


def write(folder: Path, name: str, rows: Iterable[Mapping[str, object]]) -> str:
    """Write `name`.jsonl.gz into `folder`; return its SHA-256."""
    data = packed(rows)
    (folder / f"{name}.jsonl.gz").write_bytes(data)
    return hashlib.sha256(data).hexdigest()
