"""How a table is kept apart, checked and written: one JSON-lines file a split, in a folder of its own.

Every row says its `split` and its `group`. A group (a source package, a licence, a template …) is on one side only.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from scripts.samples.rows import Row, draw, one_line, plain, side
from tenfold.errors import DataError, Problem
from tenfold.files import write_atomic

SPLITS = ("train", "validation", "test")
OPENING = 200
"""Normalised letters at the start of a text that make it the same text as another."""

__all__ = ["SPLITS", "Row", "apart", "capped", "check", "draw", "one_line", "plain", "read", "side", "write"]


def apart(rows: Iterable[Row], text: str, *, label: str | None = None, letters: int = OPENING) -> list[Row]:
    """Return one row for each opening of `text`; none where `label` differs between rows that begin alike.

    Of rows that begin alike the training row stays, so that no text that is tested was trained on.
    """
    kept: dict[str, Row] = {}
    contradicted: set[str] = set()
    for row in sorted(rows, key=lambda row: SPLITS.index(str(row["split"]))):
        key = plain(str(row[text]))[:letters]
        first = kept.setdefault(key, row)
        if label is not None and first[label] != row[label]:
            contradicted.add(key)
    return [row for key, row in kept.items() if key not in contradicted]


def capped(rows: Iterable[Row], sizes: dict[str, int], *, key: Callable[[Row], object]) -> list[Row]:
    """Return at most `sizes[split]` rows of each split and `key`, drawn by hash of the row's content."""
    taken: Counter[tuple[object, object]] = Counter()
    kept: list[Row] = []
    for row in sorted(rows, key=lambda row: draw("capped", json.dumps(row, sort_keys=True))):
        place = (row["split"], key(row))
        taken[place] += 1
        if taken[place] <= sizes[str(row["split"])]:
            kept.append(row)
    return kept


def check(name: str, rows: Sequence[Row]) -> None:
    """Return if the rows can be written as the table `name`.

    Raises:
        DataError: an empty split, a split of another name, a row without a group, or a group on two sides.
    """
    problems: list[Problem] = []
    counts = Counter(str(row.get("split")) for row in rows)
    strange = sorted(set(counts) - set(SPLITS))
    if strange:
        problems.append(Problem(name, f"rows with the split {strange[0]!r}", allowed=", ".join(SPLITS)))
    problems += [Problem(name, f"the split {split!r} has no rows") for split in ("train", "test") if not counts[split]]
    sides: dict[object, str] = {}
    for row in rows:
        group, split = row.get("group"), str(row.get("split"))
        if group in (None, ""):
            problems.append(Problem(name, f"a row without a group: {json.dumps(row, ensure_ascii=False)[:120]}"))
            break
        if sides.setdefault(group, split) != split:
            problems.append(Problem(name, f"the group {group!r} is in {sides[group]} and in {split}"))
            break
    if problems:
        raise DataError(*problems)


def write(folder: Path, name: str, rows: Sequence[Row]) -> dict[str, int]:
    """Write `rows` into `folder`, one file a split, and return how many there are of each.

    Raises:
        DataError: as `check`.
    """
    check(name, rows)
    counts: dict[str, int] = {}
    for split in SPLITS:
        own = [row for row in rows if row["split"] == split]
        counts[split] = len(own)
        if own:
            lines = (json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in own)
            write_atomic(folder / f"{split}.jsonl", "".join(lines))
    return counts


def read(folder: Path, split: str) -> list[Row]:
    """Return the rows of one split of the table in `folder`; none where it has no such split."""
    path = folder / f"{split}.jsonl"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
