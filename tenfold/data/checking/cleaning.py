"""A cleaned copy of the training rows: without what is safe to leave out, and with a word on what is still there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tenfold.data.checking.checking import Checked
from tenfold.data.checking.keys import NO_ANSWER
from tenfold.data.checking.repeats import duplicates, held_out
from tenfold.data.checking.sides import Sides
from tenfold.errors import DataError, Problem
from tenfold.files import write_lines
from tenfold.places import require_free

DROPPED = ("held_out", "exact_duplicates", "empty_answers")
"""The kinds whose rows a cleaned copy leaves out."""


@dataclass(frozen=True)
class Cleaned:
    """What became of the rows: how many were kept, and how many were left out for each reason."""

    path: Path
    num_rows: int
    kept: int
    dropped: Mapping[str, int]
    left: Mapping[str, int]
    """Findings of other kinds, which are still in the copy."""

    def to_json(self) -> dict[str, object]:
        """Return it as JSON figures."""
        return {"path": str(self.path), "kept": self.kept, "dropped": dict(self.dropped), "left": dict(self.left)}


def require_new(out: Path, sources: list[str]) -> None:
    """Check that `out` can take a cleaned copy of `sources`.

    Raises:
        DataError: it is one of them, or its name does not say JSON Lines.
        UserError: something stands there already, or nobody may write there.
    """
    if any(out.resolve() == Path(source).expanduser().resolve() for source in sources):
        raise DataError(Problem("--out", f"{out} is a file that is checked", remedy="name another: nothing is changed"))
    if out.suffix not in (".jsonl", ".ndjson"):
        raise DataError(Problem("--out", f"{out} does not end in .jsonl", "a name ending in .jsonl (or .ndjson)"))
    require_free(out, again="remove it first, if it is an earlier copy")


def write_cleaned(checked: Checked, out: Path) -> Cleaned:
    """Write the training rows that are kept to `out`, each as its source has it, as JSON Lines.

    Raises:
        DataError: the files are of several formats, which one file cannot be.
        UserError: nobody may write there.
    """
    sides, keys = checked.sides, checked.keys
    training = [side for side in sides.sides if not side.is_test]
    formats = sorted({side.rows.format for side in training})
    if len(formats) > 1:
        found = f"the files are of the formats {', '.join(formats)}"
        raise DataError(Problem("--out", found, "one format", "clean them one by one"))
    is_kept = ~keys.is_test
    reasons = {
        "held_out": held_out(keys)[:, 0],
        "exact_duplicates": duplicates(keys)[:, 0],
        "empty_answers": np.flatnonzero(keys.state == NO_ANSWER),
    }
    dropped = {}
    for kind, rows in reasons.items():
        dropped[kind] = int(is_kept[rows].sum())
        is_kept[rows] = False
    write_lines(out, _lines(sides, is_kept))
    left = {finding.kind: finding.count for finding in checked.findings if finding.kind not in DROPPED}
    num_rows = int((~keys.is_test).sum())
    return Cleaned(out, num_rows, int(is_kept.sum()), dropped, left)


def _lines(sides: Sides, is_kept: np.ndarray) -> Iterator[str]:
    for side in sides.sides:
        for start in range(0, len(side.rows), 1000):
            chunk = side.rows.table[start : start + 1000]["row"]
            numbers = range(side.start + start, side.start + start + len(chunk))
            yield from (row for number, row in zip(numbers, chunk, strict=True) if is_kept[number])
