"""Which rows train, choose the checkpoint, and are reported: split by hash, never by shuffled order.

A row's side depends on the seed and on its own group alone, so rows that are added later move nobody. Without
`group_by` the group is the first prompt whose reply is learned, normalised: a question never stands on both sides
in two spellings, and conversations that begin with the same question stay together, however far each goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa

from tenfold.data.arrow_cache import Columns, cached_table
from tenfold.data.fields import RowFault
from tenfold.data.identity import hash_of, prompt_keys
from tenfold.data.sources import Rows, open_rows
from tenfold.errors import DataError, Problem, nearest
from tenfold.recipe import DataSection

_SIDES = ("train", "validation", "test")


@dataclass(frozen=True)
class Splits:
    """The rows of each side; no group is on two sides of one source."""

    train: Rows
    validation: Rows | None
    test: Rows | None


def open_splits(data: DataSection, *, seed: int, with_validation: bool) -> Splits:
    """Return the recipe's rows, split.

    A side with a source of its own is read from there. A sample that says for each row where it belongs (a
    column `split`) is obeyed. Everything else comes out of the training rows: `test_share` and
    `validation_share` of the hash space, validation only where `with_validation` asks for it.

    Raises:
        DataError: a source that cannot be read, no such column to group by, or too few groups to split.
    """
    assert data.train is not None, "the section of one task names its rows"
    rows = _wanted(open_rows(data.train, format=data.format, columns=data.columns), data.where)
    validation = _named(data.validation, data)
    test = _named(data.test, data)
    sides = _given_sides(rows) if data.train.startswith("sample:") else np.full(len(rows), -1, dtype=np.int8)
    shares = {
        "test": 0.0 if test is not None or (sides == 2).any() else data.test_share,
        "validation": 0.0
        if validation is not None or (sides == 1).any() or not with_validation
        else data.validation_share,
    }
    free = np.flatnonzero(sides <= 0)
    if shares["test"] or shares["validation"]:
        sides[free] = _hashed_sides(group_keys(rows, data)[free], shares, seed, rows)
    else:
        sides[free] = 0

    def of(side: int) -> Rows | None:
        indices = np.flatnonzero(sides == side)
        return rows.select(indices) if len(indices) else None

    train = of(0)
    if train is None:
        raise DataError(Problem(rows.name, "no rows are left to train on", remedy="lower the shares, or add rows"))
    return Splits(_first_rows(train, data.max_rows, seed), validation or of(1), test or of(2))


def _named(source: str | None, data: DataSection) -> Rows | None:
    if source is None:
        return None
    return _wanted(open_rows(source, format=data.format, columns=data.columns), data.where)


def _wanted(rows: Rows, where: Mapping[str, Sequence[str]]) -> Rows:
    """Return the rows whose columns have one of the values that `where` names for them."""
    for column, values in where.items():
        found = column_values(rows, column)
        places = np.flatnonzero(np.isin(np.array(found, dtype=object), list(values)))
        if not len(places):
            known = ", ".join(sorted(set(found))[:20])
            wanted = " or ".join(values)
            raise DataError(Problem(rows.name, f"no row whose {column} is {wanted}", known))
        rows = rows.select(places)
    return rows


def column_values(rows: Rows, column: str) -> list[str]:
    """Return what each row has in `column`, as text.

    Raises:
        DataError: a row has no such column.
    """
    values = []
    for origins, chunk in rows.chunks():
        for origin, row in zip(origins, chunk, strict=True):
            if column not in row:
                raise DataError(Problem(origin, f"no column {column!r}", ", ".join(row), nearest(column, row)))
            values.append(str(row[column]))
    return values


def _given_sides(rows: Rows) -> np.ndarray:
    """Return for each row 0, 1 or 2 (train, validation, test) as its column `split` says, else -1."""
    sides = [
        _SIDES.index(cast(str, row["split"])) if row.get("split") in _SIDES else -1
        for _, chunk in rows.chunks()
        for row in chunk
    ]
    return np.array(sides, dtype=np.int8)


def group_keys(rows: Rows, data: DataSection) -> np.ndarray:
    """Return each row's group as a 63-bit key, [rows] int64, kept on disk beside the rows."""
    digest = hashlib.sha256(f"{rows.fingerprint} {data.group_by} {data.train_on}".encode()).hexdigest()
    schema = pa.schema([("key", pa.int64())])

    def chunks() -> Iterator[Columns]:
        for origins, chunk in rows.chunks():
            yield {"key": [_group(rows, row, origin, data) for origin, row in zip(origins, chunk, strict=True)]}

    table = cached_table(f"groups-{digest}", schema, chunks)
    return cast(np.ndarray, table.data.column("key").to_numpy())


def _group(rows: Rows, row: dict[str, object], origin: str, data: DataSection) -> int:
    if (group_by := data.group_by) is not None:
        if group_by not in row:
            raise DataError(Problem(origin, f"no column {group_by!r} to group by (data.group_by)", ", ".join(row)))
        return hash_of(json.dumps(row[group_by], sort_keys=True))
    try:
        return prompt_keys(rows.read(row), data.train_on)[0]
    except RowFault:  # told by `prepare`, together with all other faulty rows
        return hash_of(json.dumps(row, sort_keys=True))


def _hashed_sides(keys: np.ndarray, shares: dict[str, float], seed: int, rows: Rows) -> np.ndarray:
    """Return 0, 1 or 2 for each key; each wanted side gets at least one group, the nearest in hash order."""
    groups, place_of = np.unique(keys, return_inverse=True)
    wanted = 1 + sum(share > 0 for share in shares.values())
    if len(groups) < wanted:
        raise DataError(
            *_first_faults(rows),
            Problem(
                rows.name,
                f"{len(keys)} rows in {len(groups)} groups cannot be split into {wanted} sides",
                f"at least {wanted} groups (rows with one prompt, or one data.group_by value, are a group)",
                "add rows, or name data.test, or set data.test_share (and data.validation_share) to 0",
            ),
        )
    points = np.array([hash_of(f"split {seed} {group}") / 2**63 for group in groups.tolist()])
    order = np.argsort(points, kind="stable")
    num_test = _at_least_one(int((points < shares["test"]).sum()), shares["test"])
    upper = shares["test"] + shares["validation"]
    num_validation = _at_least_one(int((points < upper).sum()) - num_test, shares["validation"])
    num_test = min(num_test, len(groups) - wanted + 1)
    num_validation = min(num_validation, len(groups) - num_test - 1)
    sides = np.zeros(len(groups), dtype=np.int8)
    sides[order[:num_test]] = 2
    sides[order[num_test : num_test + num_validation]] = 1
    return sides[place_of]


def _first_faults(rows: Rows) -> list[Problem]:
    """Return what is wrong with the first rows: few groups may come from rows that cannot be read at all."""
    faults = []
    for index in range(min(5, len(rows))):
        try:
            rows.example(index)
        except RowFault as fault:
            faults.append(Problem(rows.origin(index), str(fault), remedy=fault.remedy))
    return faults


def _at_least_one(count: int, share: float) -> int:
    return max(count, 1) if share > 0 else 0


def _first_rows(rows: Rows, max_rows: int | None, seed: int) -> Rows:
    """Return the first `max_rows` rows of a seeded hash order, in source order."""
    if max_rows is None or len(rows) <= max_rows:
        return rows
    points = np.array(
        [hash_of(f"rows {seed} {json.dumps(row)}") for _, chunk in rows.chunks() for row in chunk],
        dtype=np.int64,
    )
    return rows.select(np.sort(np.argsort(points, kind="stable")[:max_rows]))
