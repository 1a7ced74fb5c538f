"""How a figure is kept: its mean and the bounds of its 95 % interval over the test rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tenfold.evaluation.statistics import bootstrap

Figure = list[float]
"""Mean, lower and upper bound."""

Floors = dict[str, dict[str, Figure]]
"""The figures of each simple means, by metric."""

RESAMPLES = 500


def mean(values: Sequence[float]) -> Figure:
    """Return the mean of one value a test row."""
    interval = bootstrap([float(value) for value in values])
    return [round(number, 4) for number in (interval.mean, interval.low, interval.high)]


def whole(score: Callable[[np.ndarray], float], rows: int, *, seed: int) -> Figure:
    """Return a score that is no mean over rows: `score` of all, and its percentiles over draws with replacement."""
    generator = np.random.default_rng(seed)
    drawn = [score(generator.integers(rows, size=rows)) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [round(float(number), 4) for number in (score(np.arange(rows)), low, high)]
