"""What a piece of evidence is (a model or a table), and what is kept about it once it is made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from evidence.tables import Row, write
from tenfold.files import atomic_folder, sha256_file, write_json

RECORD = "made.json"


@dataclass(frozen=True)
class Workshop:
    """Where pieces are made: `data` holds them, `cache` what was fetched for them."""

    data: Path
    cache: Path

    def place(self, piece: Piece) -> Path:
        """Return the folder of `piece`."""
        return self.data / piece.kind / piece.name


@dataclass(frozen=True)
class Piece:
    """A model or a table: how it is made, and what a reader has to know about it.

    `make` writes into the folder it is given and returns what it counted or found (numbers, dates, versions).
    """

    name: str
    kind: str
    make: Callable[[Path, Workshop], Mapping[str, object]]
    about: str
    source: str
    licence: str
    group: str = ""
    pitfalls: str = ""


@dataclass(frozen=True)
class TableMaker:
    """Makes a table out of the rows that `rows` gives, and of the facts it tells about them."""

    name: str
    rows: Callable[[Workshop], tuple[list[Row], Mapping[str, object]]]

    def __call__(self, folder: Path, workshop: Workshop) -> Mapping[str, object]:
        """Write the table into `folder` and return its counts and facts."""
        rows, facts = self.rows(workshop)
        return {"rows": write(folder, self.name, rows), **facts}


def ensure(piece: Piece, workshop: Workshop) -> bool:
    """Make `piece` unless it is there, whole; return whether it was made now.

    Raises:
        TenfoldError: its source cannot be had, is not the one that is pinned, or gives rows that are not sound.
    """
    folder = workshop.place(piece)
    if is_whole(folder):
        return False
    _remove(folder)
    started = time.monotonic()
    with atomic_folder(folder) as partial:
        facts = piece.make(partial, workshop)
        record = {
            "name": piece.name,
            "made": time.strftime("%Y-%m-%d"),
            "seconds": round(time.monotonic() - started, 1),
            "facts": facts,
            "files": _hashes(partial),
        }
        write_json(partial / RECORD, record)
    return True


def is_whole(folder: Path) -> bool:
    """Tell whether a finished piece lies in `folder` and each of its files is as it was written."""
    if not (folder / RECORD).is_file():
        return False
    return _hashes(folder) == record(folder)["files"]


def record(folder: Path) -> dict[str, object]:
    """Return what was kept when the piece in `folder` was made."""
    kept: dict[str, object] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    return kept


def _hashes(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in paths}


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
    if folder.is_dir():
        folder.rmdir()
