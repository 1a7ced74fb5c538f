"""Quantities that are no mean over items: made of counts and sums that are pooled over the items first.

Each item keeps a few numbers of its own (which class it is of and which was answered; how many entities were found).
They are added up over the items, and one formula makes the quantity of the sums. So the same formula serves for the
value, for every bootstrap resample and for every random swap of a paired test.

Shape letters: N items, M numbers of an item, K sums, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tenfold.evaluation.bleu import bleu_of
from tenfold.evaluation.statistics import DRAWS_AT_ONCE, FLIPS, Draws, Floats, Interval, PairedTest

RESAMPLES = 2000
BINS = 15
"""Bins of confidence; as many as Guo et al. 2017 (arXiv 1706.04599), section 5, use."""

Statistics = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Pooled:
    """How an item's M numbers become K that may be summed, and what the sums [R, K] come to, [R]; NaN: nothing."""

    expand: Callable[[Floats], Floats]
    reduce: Callable[[Floats], Floats]


def pooled_value(name: str, statistics: Statistics) -> float:
    """Return the quantity `name` of all items together; NaN where it is not defined for them."""
    pooled = AGGREGATIONS[name]
    return float(pooled.reduce(pooled.expand(np.asarray(statistics, dtype=np.float64)).sum(axis=0)[None])[0])


def pooled_interval(name: str, statistics: Statistics, *, seed: int = 0) -> Interval:
    """Return the quantity with its 95 % percentile bootstrap interval over items.

    Source: Efron & Tibshirani 1993, chapter 13: the statistic is computed anew from each resample. One for which it is
    not defined counts as the value of all items.
    """
    value = pooled_value(name, statistics)
    expanded = AGGREGATIONS[name].expand(np.asarray(statistics, dtype=np.float64))
    draws = resampled(AGGREGATIONS[name], expanded[None], np.random.default_rng(seed))[0]
    low, high = np.quantile(np.where(np.isnan(draws), value, draws), [0.025, 0.975])
    return Interval(value, float(low), float(high))


def pooled_test(name: str, before: Statistics, after: Statistics, *, seed: int = 0) -> PairedTest:
    """Return the change of the quantity over the same items: paired bootstrap interval, and p of random swaps.

    If nothing had changed, it would be a coin's throw which of an item's two outcomes is called the later one.

    Source: Noreen 1989, "Computer-Intensive Methods for Testing Hypotheses", chapter 2 (approximate randomisation), as
    Yeh 2000 (aclanthology.org/C00-2137) uses it for F scores.
    """
    early, late = _sides(name, before, after)
    draws = pooled_draws(name, before, after, seed=seed)
    low, high = np.quantile(draws.resampled, [0.025, 0.975])
    interval = Interval(draws.value, float(low), float(high))
    return PairedTest(interval, swap_p(AGGREGATIONS[name], early, late, seed=seed), len(before))


def pooled_draws(name: str, before: Statistics, after: Statistics, *, seed: int = 0) -> Draws:
    """Return the change of the quantity over the same items, and that of each resample of them.

    A resample for which it is not defined counts as all items do.
    """
    pooled = AGGREGATIONS[name]
    early, late = _sides(name, before, after)
    observed = float(pooled.reduce(late.sum(axis=0)[None])[0] - pooled.reduce(early.sum(axis=0)[None])[0])
    draws = resampled(pooled, np.stack([early, late]), np.random.default_rng(seed))
    differences = draws[1] - draws[0]
    return Draws(observed, np.where(np.isnan(differences), observed, differences))


def pooled_ratio(name: str, above: Statistics, below: Statistics, *, seed: int = 0) -> Interval | None:
    """Return the quantity of `above` over that of `below`, the same items; None where `below` comes to no more than 0.

    The interval is the 95 % percentile bootstrap's, items of both drawn together. A resample in which `below` comes to
    no more than 0 counts as all items do. Source: Efron & Tibshirani 1993, chapter 10.3.
    """
    pooled = AGGREGATIONS[name]
    first, second = _sides(name, above, below)
    over, under = (float(pooled.reduce(side.sum(axis=0)[None])[0]) for side in (first, second))
    if not under > 0:
        return None
    tops, bottoms = resampled(pooled, np.stack([first, second]), np.random.default_rng(seed))
    ratios = np.divide(tops, bottoms, out=np.full_like(tops, np.nan), where=bottoms > 0)
    low, high = np.quantile(np.where(np.isnan(ratios), over / under, ratios), [0.025, 0.975])
    return Interval(over / under, float(low), float(high))


def _sides(name: str, before: Statistics, after: Statistics) -> tuple[Floats, Floats]:
    """Return what is summed over the items before and after, [N, K] each, expanded together so that K is the same."""
    both = AGGREGATIONS[name].expand(np.asarray([*before, *after], dtype=np.float64))
    early, late = both[: len(before)], both[len(before) :]
    assert early.shape == late.shape, "the same items before and after"
    return early, late


def resampled(pooled: Pooled, sides: Floats, generator: np.random.Generator, *, resamples: int = RESAMPLES) -> Floats:
    """Return the quantity of each side in each resample of the items, [G, R], for `sides` [G, N, K].

    All sides share the drawn items. NaN where the quantity is not defined for a resample.
    """
    num_sides, num_items, num_sums = sides.shape
    columns = sides.transpose(1, 0, 2).reshape(num_items, num_sides * num_sums)
    block = max(1, DRAWS_AT_ONCE // max(columns.shape))
    values = np.empty((num_sides, resamples))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(num_items, size=(rows, num_items)) + np.arange(rows)[:, None] * num_items
        counts = np.bincount(drawn.ravel(), minlength=rows * num_items).reshape(rows, num_items)
        sums = (counts.astype(np.float64) @ columns).reshape(rows * num_sides, num_sums)
        values[:, start : start + rows] = pooled.reduce(sums).reshape(rows, num_sides).T
    return values


def swap_p(pooled: Pooled, early: Floats, late: Floats, *, seed: int = 0) -> float:
    """Return the two-sided p of the change from `early` to `late`, [N, K] each, under random swaps of items' two sums.

    NaN, where there is no quantity to compare, is no change: p is 1.
    """
    change = late - early
    changed = np.flatnonzero(np.any(change != 0, axis=1))
    observed = float(pooled.reduce(late.sum(axis=0)[None])[0] - pooled.reduce(early.sum(axis=0)[None])[0])
    if not len(changed) or np.isnan(observed):
        return 1.0
    change = change[changed]
    generator = np.random.default_rng(seed)
    block = max(1, DRAWS_AT_ONCE // len(changed))
    extreme = 0
    for start in range(0, FLIPS, block):
        swaps = generator.integers(2, size=(min(block, FLIPS - start), len(changed))).astype(np.float64) @ change
        found = pooled.reduce(late.sum(axis=0) - swaps) - pooled.reduce(early.sum(axis=0) + swaps)
        # the same sums, added in another order, must count as equal
        extreme += int(np.count_nonzero(np.abs(found) >= abs(observed) * (1 - 1e-9)))
    return (1 + extreme) / (1 + FLIPS)


def _as_they_are(numbers: Floats) -> Floats:
    return numbers


def _ratio(above: Floats, below: Floats) -> Floats:
    """Return above / below, NaN where there is nothing below."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below != 0)


def _f1(found: Floats, spurious: Floats, missed: Floats) -> Floats:
    """Return 2 found / (2 found + spurious + missed): the harmonic mean of precision and recall."""
    return _ratio(2 * found, 2 * found + spurious + missed)


def _mean(sums: Floats) -> Floats:
    return _ratio(sums[:, 0], sums[:, 1])


def _micro_f1(sums: Floats) -> Floats:
    """Return F1 of (found, spurious, missed); 0 where there was nothing to find and nothing was found."""
    return np.nan_to_num(_f1(sums[:, 0], sums[:, 1], sums[:, 2]))


def _class_counts(pairs: Floats) -> Floats:
    """Return for each (class, answered class) whether each class is found, spurious, missed: [N, 3 C]."""
    wanted, answered = pairs[:, 0].astype(int), pairs[:, 1].astype(int)
    classes = np.arange(int(pairs.max()) + 1)
    is_wanted, is_answered = wanted[:, None] == classes, answered[:, None] == classes
    return _counts(is_wanted, is_answered)


def _label_counts(codes: Floats) -> Floats:
    """Return the same for several labels an item, each coded as wanted + 2 answered."""
    return _counts(codes.astype(int) % 2 == 1, codes >= 2)


def _counts(is_wanted: np.ndarray, is_answered: np.ndarray) -> Floats:
    parts = (is_wanted & is_answered, ~is_wanted & is_answered, is_wanted & ~is_answered)
    return np.concatenate(parts, axis=1).astype(np.float64)


def _macro_f1(sums: Floats) -> Floats:
    """Return the mean F1 over the classes that occur, wanted or answered.

    Source: Lewis et al. 2004, "RCV1", section 5.2 (macro averaging); classes that do not occur are left out, as
    scikit-learn does.
    """
    scores = _f1(*np.split(sums, 3, axis=1))
    return _ratio(np.nansum(scores, axis=1), np.sum(~np.isnan(scores), axis=1).astype(np.float64))


def _binned(pairs: Floats) -> Floats:
    """Return (confidence, right) in the columns of its bin: [N, BINS of confidence - right, 1 to count]."""
    bins = np.minimum((pairs[:, 0] * BINS).astype(int), BINS - 1)
    gaps = np.zeros((len(pairs), BINS + 1))
    gaps[np.arange(len(pairs)), bins] = pairs[:, 0] - pairs[:, 1]
    gaps[:, -1] = 1
    return gaps


def _calibration_error(sums: Floats) -> Floats:
    """Return the mean gap between confidence and accuracy, bin by bin.

    Source: Guo et al. 2017 (arXiv 1706.04599), equation 3; bins of equal width.
    """
    return _ratio(np.abs(sums[:, :-1]).sum(axis=1), sums[:, -1])


def _moments(pairs: Floats) -> Floats:
    """Return count, x, y, x², y², x y, (x - y)² of each (x, y); x and y are shifted by their means for precision."""
    x, y = (pairs - pairs.mean(axis=0)).T
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, (pairs[:, 0] - pairs[:, 1]) ** 2], axis=1)


def _r_squared(sums: Floats) -> Floats:
    """Return 1 - squared errors / squared distances from the mean of the wanted numbers y."""
    count, _, y, _, yy, _, error = sums.T
    return 1 - _ratio(error, _spread(count, y, yy))


def _pearson(sums: Floats) -> Floats:
    """Return the correlation of answered x with wanted y (Pearson 1896)."""
    count, x, y, xx, yy, xy, _ = sums.T
    return _ratio(xy - x * y / count, np.sqrt(_spread(count, x, xx) * _spread(count, y, yy)))


def _spread(count: Floats, total: Floats, squares: Floats) -> Floats:
    """Return the squared distances from the mean; 0 where they are no more than rounding."""
    spread = squares - total * total / count
    return np.where(spread > 1e-12 * squares, spread, 0.0)


AGGREGATIONS: Mapping[str, Pooled] = {
    "mean": Pooled(_as_they_are, _mean),
    "micro_f1": Pooled(_as_they_are, _micro_f1),
    "macro_f1": Pooled(_class_counts, _macro_f1),
    "label_macro_f1": Pooled(_label_counts, _macro_f1),
    "calibration_error": Pooled(_binned, _calibration_error),
    "r_squared": Pooled(_moments, _r_squared),
    "pearson": Pooled(_moments, _pearson),
    "bleu": Pooled(_as_they_are, bleu_of),
}
"""Every quantity by its name in scorecards.

Numbers of an item: `mean` (weight × value, weight), `micro_f1` (found, spurious, missed), `macro_f1` (class, answered
class), `label_macro_f1` (for each label, wanted + 2 answered), `calibration_error` (confidence, right), `r_squared` and
`pearson` (answered, wanted), `bleu` (lengths, n-grams that match, n-grams there are).
"""
