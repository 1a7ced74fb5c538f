"""Is what was read flat? Memory by the slope of least squares, all else by whether more is held in the second half."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

MOST_BYTES_A_RUN = 20_000
"""Of resident memory: a run a minute, day and night, may add 29 MB a day."""

MOST_OBJECTS_A_RUN = 5.0
"""That Python's collector keeps track of: some hundred bytes each."""

NEVER_MORE = ("descriptors", "threads", "children", "temporary_files", "cache_files")
"""Of these no round of the second half may hold more than the first half's most did: a file that waits to be collected
may be there or not, one that is kept in every round adds up."""

NAMES = ("resident_bytes", "objects", *NEVER_MORE)
"""Of what there is a value for each round."""

LEAST_ROUNDS = 8
"""Fewer say nothing about a trend."""

Rounds = Mapping[str, Sequence[float]]
"""The values of all rounds, for each of `NAMES`."""


@dataclass(frozen=True)
class Trend:
    """Growth a round, and half the width of its 95 % interval."""

    slope: float
    half_width: float

    @property
    def most(self) -> float:
        """Return the upper end of the interval."""
        return self.slope + self.half_width


def trend(values: Sequence[float]) -> Trend:
    """Return the least-squares slope of `values` over their places.

    The interval is that of as many independent values as the residuals amount to, by their correlation with the ones
    before them: memory moves in steps, and a step stays.
    """
    number = len(values)
    if number < LEAST_ROUNDS // 2:
        return Trend(0.0, math.inf)
    places = [place - (number - 1) / 2 for place in range(number)]
    spread = sum(place**2 for place in places)
    middle = fmean(values)
    slope = sum(place * value for place, value in zip(places, values, strict=True)) / spread
    residuals = [value - middle - slope * place for place, value in zip(places, values, strict=True)]
    squares = sum(residual**2 for residual in residuals)
    correlation = max(0.0, sum(one * after for one, after in pairwise(residuals)) / squares) if squares else 0.0
    independent = max(1.0, number * (1 - correlation) / (1 + correlation) - 2)
    error = math.sqrt(squares / independent / spread)
    return Trend(slope, 2 * error)


def second_half(values: Sequence[float]) -> Sequence[float]:
    """Return the rounds of the second half: in the first one caches fill and the allocator settles."""
    return values[len(values) // 2 :]


def faults(rounds: Rounds, *, runs_a_round: int) -> list[str]:
    """Return in words what grew, or was not shown to be flat; empty where all is."""
    number = len(rounds["objects"])
    if number < LEAST_ROUNDS:
        return [f"{number} rounds are too few to tell: {LEAST_ROUNDS} are needed"]
    found = []
    bounds = {"resident_bytes": MOST_BYTES_A_RUN, "objects": MOST_OBJECTS_A_RUN}
    for name, bound in bounds.items():
        growth = trend(second_half(rounds[name]))
        if growth.most > bound * runs_a_round:
            least, most = (growth.slope - growth.half_width) / runs_a_round, growth.most / runs_a_round
            found.append(f"{name} grow by {least:,.1f} to {most:,.1f} a run: no more than {bound:,.0f} is flat")
    for name in NEVER_MORE:
        before, after = max(rounds[name][: number // 2]), max(second_half(rounds[name]))
        if after > before:
            found.append(f"{name}: at most {before:,.0f} in the first half, {after:,.0f} in the second")
    return found
