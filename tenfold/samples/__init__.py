"""Which sample data sets the package carries, where their files are, and what rows they hold.

Where each set comes from, its licence and its pitfalls: `SOURCES.md` beside this file.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

from tenfold.errors import DataError, Problem, nearest

FOLDER = Path(__file__).parent
SUFFIX = ".jsonl.gz"


def names() -> tuple[str, ...]:
    """Return the names of the sample sets, in alphabetical order."""
    return tuple(sorted(file.removesuffix(SUFFIX) for file in _hashes()))


def path(name: str) -> Path:
    """Return the packed JSON-lines file of the sample set `name`, its content checked.

    Raises:
        DataError: there is no such set, or its file is missing or not the one that was shipped.
    """
    if name not in names():
        remedy = nearest(name, names())
        raise DataError(Problem("sample set", f"there is none named {name!r}", ", ".join(names()), remedy))
    file = FOLDER / f"{name}{SUFFIX}"
    reinstall = "install the package again"
    if not file.exists():
        raise DataError(Problem(str(file), "the sample file is missing", remedy=reinstall))
    found, expected = hashlib.sha256(file.read_bytes()).hexdigest(), _hashes()[file.name]
    if found != expected:
        shipped = f"SHA-256 {expected[:12]}…, as shipped"
        raise DataError(Problem(str(file), f"the sample file was changed: SHA-256 {found[:12]}…", shipped, reinstall))
    return file


def load(name: str) -> list[dict[str, object]]:
    """Return the rows of the sample set `name`; every row tells its `split`: train, validation or test.

    Raises:
        DataError: as `path`.
    """
    with gzip.open(path(name), "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _hashes() -> dict[str, str]:
    hashes: dict[str, str] = json.loads((FOLDER / "hashes.json").read_text(encoding="utf-8"))
    return hashes
