"""Where does a value lie on an axis, and which values are written beside it?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_TIMES = (
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    20,
    60,
    120,
    300,
    600,
    1200,
    3600,
    7200,
    18_000,
    36_000,
    86_400,
    172_800,
    360_000,
)
"""Seconds that are round when they are told as seconds, minutes or hours, and so are their multiples beside them."""

_WIDE = 12.0
"""From this ratio of the largest to the least value on, an axis of amounts is logarithmic."""


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high`; reversed where less is better, so that better is always up or to the right."""

    low: float
    high: float
    is_log: bool = False
    is_reversed: bool = False
    is_time: bool = False

    def at(self, value: float) -> float:
        """Return where `value` lies, 0 at the beginning of the axis and 1 at its end."""
        if self.is_log:
            low, high, value = math.log(self.low), math.log(self.high), math.log(max(value, self.low))
        else:
            low, high = self.low, self.high
        place = min(1.0, max(0.0, (value - low) / (high - low)))
        return 1 - place if self.is_reversed else place

    def ticks(self, count: int = 5) -> list[float]:
        """Return about `count` round values on the axis; of seconds, such as are round in minutes or hours too."""
        if self.is_log:
            round_ones = [m * 10.0**e for e in range(math.floor(math.log10(self.low)), 16) for m in (1, 2, 5)]
            inside = [each for each in (_TIMES if self.is_time else round_ones) if self.low <= each <= self.high]
            return [float(each) for each in inside[:: max(1, math.ceil(len(inside) / count))]]
        step = self._step((self.high - self.low) / count)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(place * step, 12) for place in range(first, last + 1)]

    def _step(self, least: float) -> float:
        """Return the first round step that is no smaller than `least`."""
        if self.is_time and least <= _TIMES[-1]:
            return next(step for step in _TIMES if step >= least)
        unit = 10.0 ** math.floor(math.log10(least))
        return next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= least * 0.999)


def over(values: Sequence[float], *, is_reversed: bool = False, bounds: tuple[float, float] | None = None) -> Scale:
    """Return the scale of all `values` with a little room on both sides, but never beyond `bounds`."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    room = (high - low) * 0.06 or abs(high) * 0.1 or 0.5
    low, high = low - room, high + room
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Scale(low, high, is_reversed=is_reversed) if high > low else Scale(low - 0.5, low + 0.5)


def of_amounts(values: Sequence[float], *, is_time: bool = False) -> Scale:
    """Return the scale of amounts, none below 0: logarithmic where they differ widely, else from 0."""
    positive = [value for value in values if value > 0]
    if positive and len(positive) == len(values) and max(positive) / min(positive) >= _WIDE:
        return Scale(min(positive) / 1.6, max(positive) * 1.6, is_log=True, is_time=is_time)
    return Scale(0.0, (max(values) or 1.0) * 1.12, is_time=is_time)
