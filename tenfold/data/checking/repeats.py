"""What shows only across rows: repeats, held-out rows in training, contradictions, and what is unlike all others."""

from __future__ import annotations

from functools import partial

import numpy as np

from tenfold.data.checking.finding import EXAMPLES_SHOWN, Shown, Tally
from tenfold.data.checking.keys import Keys, conflicting, outliers, repeated, same_answers, shared
from tenfold.data.checking.near import Signatures
from tenfold.data.checking.sides import Sides

MOSTLY_CLOSED = 0.8
"""Share of a file's long answers that end as sentences do, from which on those that do not are told."""


def tell_repeats(sides: Sides, keys: Keys, tally: Tally, signatures: Signatures | None) -> None:
    """Tell everything that the keys of all rows show."""
    rows = keys.readable()
    leaked = held_out(keys)
    _tell_all(tally, "held_out", sides, leaked)
    copies = duplicates(keys)
    _tell_all(tally, "exact_duplicates", sides, copies)
    tell_conflicts(sides, keys, tally)
    if signatures is not None:
        _tell_near(sides, keys, tally, signatures, np.concatenate([copies, leaked]))
    for row, number in same_answers(keys, rows[keys.is_sentence[rows]]):
        tally.add("same_answers", partial(_shown, sides, row, f"{number:,} prompts get it: "))
    _tell_cut(sides, keys, tally)
    for side in sides.sides:
        places = rows[(rows >= side.start) & (rows < side.start + len(side.rows))]
        found, low, high = outliers(keys.length[places])
        for row in places[found].tolist():
            tally.add("length_outliers", partial(_shown, sides, row, f"{keys.length[row]:,} characters: "))
        if len(found):
            tally.explain("length_outliers", f"usual in {side.source}: {low:,.0f} to {high:,.0f} characters")


def held_out(keys: Keys) -> np.ndarray:
    """Return (training row, held-out row with its prompt) for each training row that has one, [pairs, 2] int64."""
    rows = keys.readable()
    is_test = keys.is_test[rows]
    return shared(keys.prompt, rows[~is_test], rows[is_test])


def duplicates(keys: Keys) -> np.ndarray:
    """Return (row, first that says the same word for word), within training and within what is held out."""
    rows = keys.readable()
    is_test = keys.is_test[rows]
    return np.concatenate([repeated(keys.row, part) for part in (rows[~is_test], rows[is_test])])


def tell_conflicts(sides: Sides, keys: Keys, tally: Tally) -> None:
    """Tell training rows with another label, or another answer, than the same text or prompt has elsewhere."""
    rows = keys.readable()
    rows = rows[~keys.is_test[rows]]
    for kind, some in (
        ("label_conflicts", rows[keys.is_labelled[rows]]),
        ("several_answers", rows[~keys.is_labelled[rows]]),
    ):
        _tell_all(tally, kind, sides, conflicting(keys, some))


def _tell_near(sides: Sides, keys: Keys, tally: Tally, signatures: Signatures, told: np.ndarray) -> None:
    """Tell near-duplicates among rows that were not told as copies; other answers to one prompt are no duplicates."""
    rows = np.setdiff1d(keys.readable(), told[:, 0])
    for pair in signatures.pairs(rows):
        one, other = pair.row, pair.earlier
        if keys.task[one] == keys.task[other] and keys.answer[one] != keys.answer[other]:
            continue
        across = keys.is_test[one] != keys.is_test[other]
        row, earlier = (other, one) if across and keys.is_test[one] else (one, other)
        kind = "near_held_out" if across else "near_duplicates"
        tally.add(kind, partial(_pair, sides, row, earlier, f"{pair.similarity:.0%} of "))


def _tell_cut(sides: Sides, keys: Keys, tally: Tally) -> None:
    for side in sides.sides:
        rows = np.arange(side.start, side.start + len(side.rows))
        long = rows[keys.is_long[rows]]
        is_open = keys.ends_open[long]
        cut = long[is_open] if len(long) and is_open.mean() <= 1 - MOSTLY_CLOSED else long[:0]
        for row in np.union1d(cut, rows[keys.leaves_open[rows]]).tolist():
            reason = "a code block is not closed: " if keys.leaves_open[row] else "ends in "
            tally.add("cut_answers", partial(_end, sides, row, reason))


def _tell_all(tally: Tally, kind: str, sides: Sides, pairs: np.ndarray) -> None:
    for row, other in pairs[:EXAMPLES_SHOWN].tolist():
        tally.add(kind, partial(_pair, sides, row, other, "as "))
    tally.count(kind, max(0, len(pairs) - EXAMPLES_SHOWN))


def _pair(sides: Sides, row: int, other: int, relation: str) -> Shown:
    return Shown(sides.place(row), f"{relation}{sides.place(other)}: {sides.shown(row)}")


def _shown(sides: Sides, row: int, before: str) -> Shown:
    return Shown(sides.place(row), before + sides.shown(row))


def _end(sides: Sides, row: int, before: str) -> Shown:
    return Shown(sides.place(row), before + sides.shown_end(row))
