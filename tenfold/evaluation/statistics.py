"""How sure is a number? Intervals over items, and a paired test of before against after.

The items are the test rows: intervals say what another draw of rows could have given, not what another seed
of the training would. Shape letters: N items, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Verdict = Literal["rose", "fell", "no clear change"]

EXACT_ITEMS = 12
"""Up to this many items all 2^N sign flips are tried."""

FLIPS = 10_000
"""Random sign flips above that."""

CLEAR_P = 0.05

FEWEST_ROWS = 6
"""Fewer items can never have a p below 0.05: two of their 2^N sign flips are as extreme as any."""

DRAWS_AT_ONCE = 2_000_000  # index and gathered arrays of 16 MB each, whatever N is

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean and the bounds of its confidence interval."""

    mean: float
    low: float
    high: float

    @property
    def signed(self) -> str:
        """The interval of a difference in words: `+0.120 [+0.051, +0.194]`."""
        return f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True)
class PairedTest:
    """The difference after - before over the same items, and the chance of one as large from nothing."""

    difference: Interval
    p_value: float
    num_items: int = FEWEST_ROWS

    @property
    def can_be_clear(self) -> bool:
        """Whether there are items enough for any difference to be clear."""
        return self.num_items >= FEWEST_ROWS

    @property
    def verdict(self) -> Verdict:
        """`rose` or `fell` if the interval leaves out zero and p is below 0.05, else `no clear change`.

        The p value guards the smallest samples: three items that all rose give an interval above zero by
        themselves.
        """
        if self.p_value < CLEAR_P and self.difference.low > 0:
            return "rose"
        if self.p_value < CLEAR_P and self.difference.high < 0:
            return "fell"
        return "no clear change"


def bootstrap(
    values: Sequence[float],
    *,
    weights: Sequence[float] | None = None,
    seed: int = 0,
    confidence: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Return the mean of `values` with its percentile bootstrap interval over items.

    With `weights` the mean is sum(weight * value) / sum(weight): bits per byte of a text with its bytes as
    weights is all bits over all bytes, and each resample draws value and weight together.

    Source: Efron 1979, Annals of Statistics 7(1), section 2; percentile interval: Efron & Tibshirani 1993,
    chapter 13. Where all items are equal (0 of 100 right) the interval is that point; for a share see `opened_at_end`.
    """
    weighted, weight = _weighted(values, weights)
    means = _resampled_means(weighted, weight, np.random.default_rng(seed), resamples)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(weighted.sum() / weight.sum()), float(low), float(high))


def opened_at_end(interval: Interval, num_items: int) -> Interval:
    """Return the interval of a share; where all of `num_items` items are 0, or all 1, open to what none of them showed.

    Resamples of equal items are equal, so the bootstrap's interval is a point there. Source: Clopper & Pearson 1934,
    Biometrika 26(4), whose exact interval for 0 of n has the upper end 1 - 0.025^(1/n).
    """
    if interval.low != interval.high or interval.mean not in (0.0, 1.0):
        return interval
    unseen = 1 - 0.025 ** (1 / num_items)
    return Interval(interval.mean, interval.mean and 1 - unseen, interval.mean or unseen)


def paired_test(
    before: Sequence[float], after: Sequence[float], *, weights: Sequence[float] | None = None, seed: int = 0
) -> PairedTest:
    """Return the change from `before` to `after`: bootstrap interval and p of a sign-flip permutation test.

    If nothing had changed, the sign of each item's difference would be a coin's. All flips are counted for up
    to 12 items; else 10,000 random ones, with p = (1 + as extreme) / (1 + flips), which is never zero.

    Source: Fisher 1935, The Design of Experiments, section 21; p of random flips: Phipson & Smyth 2010
    (arXiv 1603.05766), section 3.
    """
    differences = [late - early for early, late in zip(before, after, strict=True)]
    interval = bootstrap(differences, weights=weights, seed=seed)
    weighted, _ = _weighted(differences, weights)
    p_value = float(sign_flip_p(weighted[:, None], np.random.default_rng(seed))[0])
    return PairedTest(interval, p_value, len(differences))


@dataclass(frozen=True)
class Draws:
    """A quantity of all items, and of each resample of them, [R]: what several tasks' quantities are averaged from."""

    value: float
    resampled: Floats

    def __mul__(self, factor: float) -> Draws:
        """Return the same times `factor`."""
        return Draws(self.value * factor, self.resampled * factor)


def difference_draws(
    before: Sequence[float], after: Sequence[float], *, weights: Sequence[float] | None = None, seed: int = 0
) -> Draws:
    """Return the mean change from `before` to `after`, and that of each resample of the items."""
    differences = [late - early for early, late in zip(before, after, strict=True)]
    weighted, weight = _weighted(differences, weights)
    means = _resampled_means(weighted, weight, np.random.default_rng(seed), 2000)
    return Draws(float(weighted.sum() / weight.sum()), means)


def mean_of(tasks: Sequence[Draws]) -> Interval:
    """Return the mean over tasks with its 95 % bootstrap interval: items are drawn within each, and each counts alike.

    Source: Davison & Hinkley 1997, Bootstrap Methods and their Application, section 3.2 (several samples).
    """
    means = np.mean([task.resampled for task in tasks], axis=0)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(np.mean([task.value for task in tasks])), float(low), float(high))


def paired_ratio(
    above: Sequence[float], below: Sequence[float], *, weights: Sequence[float] | None = None, seed: int = 0
) -> Interval | None:
    """Return the mean of `above` over that of `below`, with its 95 % bootstrap interval; None where `below` sums to 0.

    Items are drawn with replacement, both their values together, as for a ratio of means.

    Source: Efron & Tibshirani 1993, chapter 10.3 (a ratio of two means of pairs).
    """
    (first, _), (second, _) = _weighted(above, weights), _weighted(below, weights)
    if second.sum() == 0:
        return None
    # the means of `first` weighted by `second` are sums of the one over sums of the other, draw by draw
    ratios = _resampled_means(first, second, np.random.default_rng(seed), 2000)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return Interval(float(first.sum() / second.sum()), float(low), float(high))


def _weighted(values: Sequence[float], weights: Sequence[float] | None) -> tuple[Floats, Floats]:
    """Return weight * value and weight, both [N]."""
    value = np.asarray(values, dtype=np.float64)
    weight = np.ones_like(value) if weights is None else np.asarray(weights, dtype=np.float64)
    assert len(value) == len(weight), "one weight for each value"
    assert len(value) > 0 and weight.sum() > 0, "a mean needs an item"
    return value * weight, weight


def _resampled_means(weighted: Floats, weight: Floats, generator: np.random.Generator, resamples: int) -> Floats:
    """Return the means of `resamples` draws of N items with replacement, [R]."""
    num_items = len(weighted)
    block = max(1, DRAWS_AT_ONCE // num_items)
    means = np.empty(resamples)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(num_items, size=(rows, num_items))
        totals = weight[drawn].sum(axis=1)
        # a draw of items that all weigh nothing has no mean; it counts as the mean of all
        totals[totals == 0] = np.nan
        means[start : start + rows] = weighted[drawn].sum(axis=1) / totals
    return np.nan_to_num(means, nan=float(weighted.sum() / weight.sum()))


def sign_flip_p(differences: Floats, generator: np.random.Generator) -> Floats:
    """Return the two-sided p of each column's sum, [P], for `differences` [N, P] whose signs were a coin's.

    All columns share the flips: each p is right by itself, and nothing is promised of several together.
    """
    # the same sum, added in another order, must count as equal
    observed = np.abs(differences.sum(axis=0)) * (1 - 1e-9)
    num_items, num_columns = differences.shape
    if num_items <= EXACT_ITEMS:
        codes = np.arange(2**num_items)[:, None] >> np.arange(num_items)
        return np.asarray(np.mean(np.abs((1.0 - 2.0 * (codes & 1)) @ differences) >= observed, axis=0))
    extreme = np.zeros(num_columns)
    block = max(1, DRAWS_AT_ONCE // num_items)
    for start in range(0, FLIPS, block):
        rows = min(block, FLIPS - start)
        signs = 1.0 - 2.0 * generator.integers(2, size=(rows, num_items))
        extreme += np.count_nonzero(np.abs(signs @ differences) >= observed, axis=0)
    return (1 + extreme) / (1 + FLIPS)
