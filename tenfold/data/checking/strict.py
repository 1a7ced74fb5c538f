"""What fails a strict check: every finding that is to mend, but for the kinds that are allowed."""

from __future__ import annotations

from collections.abc import Collection

from tenfold.data.checking.checking import Checked
from tenfold.data.checking.finding import COUNTING
from tenfold.errors import DataError, Problem, nearest


def require_counting(allowed: Collection[str]) -> None:
    """Check that each of `allowed` is a kind that would fail a strict check.

    Raises:
        DataError: one is none of `COUNTING`.
    """
    problems = [
        Problem("--allow", f"{name!r} is no finding that fails", ", ".join(COUNTING), nearest(name, COUNTING))
        for name in allowed
        if name not in COUNTING
    ]
    if problems:
        raise DataError(*problems)


def failing(checked: Checked, allowed: Collection[str] = ()) -> dict[str, int | None]:
    """Return how often each kind was found that fails; None for one that was asked for and could not be looked for."""
    found: dict[str, int | None] = {finding.kind: finding.count for finding in checked.findings}
    if checked.sides.sides[-1].is_test and "near_held_out" in checked.not_asked:
        found["near_held_out"] = None
    return {kind: found[kind] for kind in COUNTING if kind in found and kind not in allowed}
