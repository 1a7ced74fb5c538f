"""Which entrant is best on the same test rows, and which of the others may be just as good?

Two things make a score what it is by chance: which rows were drawn for the test, and which seeds the trainings had. All
entrants are measured on the same rows, so rows are drawn and swapped for all of them together.

Shape letters: E entrants, G runs (an entrant has one a seed), N items, K sums, R draws, P pairs of entrants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tenfold.evaluation.pooled import AGGREGATIONS, Pooled, resampled, swap_p
from tenfold.evaluation.scorecard import Measure
from tenfold.evaluation.statistics import CLEAR_P, Floats, Interval, opened_at_end, sign_flip_p

DRAWS = 10_000
"""So many that a p of 0.05 / 45, for one of ten entrants' 45 pairs, is still told from zero."""


@dataclass(frozen=True)
class Standing:
    """Where an entrant stands: its score, and how far it is behind the leader."""

    name: str
    score: Interval
    """The mean over its seeds with the 95 % interval over items and seeds."""
    behind: Interval
    """The leader's score minus its own, positive where it is worse, with the 95 % interval of this one difference."""
    p_value: float
    """Of its difference from the leader, corrected for the number of entrants; 1 for the leader itself."""
    is_tied: bool
    """Whether it may be as good as the leader: all but those that are clearly worse, so the leader too.

    Also of a score that is not defined: nothing shows that it is worse.
    """

    @property
    def is_defined(self) -> bool:
        """Whether its score is a number: macro F1 of nothing is none."""
        return math.isfinite(self.score.mean)


def rank(entrants: Mapping[str, Sequence[Measure]], *, seed: int = 0) -> list[Standing]:
    """Return the entrants' standings, best mean over seeds first; equal ones in their order, undefined ones last.

    Undefined is who has a value that is NaN with any seed: it has no place, and the others stand as without it.

    Each entrant has one measure a training seed, all of the same quantity over the same items in the same order.

    *Intervals* are percentiles of draws. Items are drawn with replacement, the same for all runs. Two to five seeds are
    too few to draw from (the means of two drawn seeds have half the variance they should); so each draw of an entrant's
    mean moves by a normal deviate instead. Its variance is one that the seeds may really have: what was found between
    them, times degrees of freedom over a chi-square, as in Student's t, less what the same items' chance makes of it;
    the larger of the entrant's own and that of all entrants together, and the latter for an entrant with one seed. If
    none has two seeds, the seeds' part is unknown and left out: intervals and p then speak of these trained models,
    not of their techniques.

    *Clearly worse than the leader* is an entrant if its p is below 0.05. That p is the larger of two: that of the
    paired permutation of items (seeds averaged first), which guards few items, and that of the draws (twice the share
    on the other side of zero), which guards against one lucky seed. Then it is corrected, for the leader is chosen
    after the scores are seen. Only pairs of truly best entrants can be told apart falsely, if one of them leads;
    after i of E entrants were found worse, at most E - i are best. So the smallest p is multiplied by the pairs among
    E, the next by those among E - 1, the last by one: Shaffer's refinement of Holm's correction. Any false difference
    is then as rare as 5 %, not only a false sole winner; `docs/comparing.md` has how often each was met, also where a
    lesser one leads.

    Source: bootstrap of crossed factors: Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2);
    the seeds' spread as a component of variance: Cornfield & Tukey 1956, Annals of Mathematical Statistics 27(4), with
    its uncertainty: Weerahandi 1993, Journal of the American Statistical Association 88(423);
    correction: Holm 1979, Scandinavian Journal of Statistics 6(2), and Shaffer 1986, Journal of the American
    Statistical Association 81(395); that a sole winner needs but the runner-up's own p: Gutmann & Maymin 1987, Annals
    of Statistics 15(1).
    """
    if not entrants:
        return []
    _assert_comparable(entrants)
    whole = {name: runs for name, runs in entrants.items() if not any(math.isnan(run.value) for run in runs)}
    undefined = [name for name in entrants if name not in whole]
    return [*(_ranked(whole, seed) if whole else ()), *map(_undefined, undefined)]


def _undefined(name: str) -> Standing:
    nothing = Interval(math.nan, math.nan, math.nan)
    return Standing(name, nothing, nothing, 1.0, is_tied=True)


def _ranked(entrants: Mapping[str, Sequence[Measure]], seed: int) -> list[Standing]:
    measures = [measure for runs in entrants.values() for measure in runs]
    owner = np.repeat(np.arange(len(entrants)), [len(runs) for runs in entrants.values()])
    turn = 1.0 if measures[0].higher_is_better else -1.0
    quantity, sums = _summable(measures)
    generator = np.random.default_rng(seed)
    values = quantity.reduce(sums.sum(axis=1))
    draws = resampled(quantity, sums, generator, resamples=DRAWS)
    draws = np.where(np.isnan(draws), values[:, None], draws)
    drawn = _by_entrant(draws, owner) + _seed_deviates(values, draws, owner, generator)
    scores = _by_entrant(values, owner)
    order = sorted(range(len(entrants)), key=lambda entrant: -turn * scores[entrant])
    leader = order[0]
    found = corrected(_p_against(leader, quantity, _by_entrant(sums, owner), drawn, seed))
    p_values = np.insert(found, leader, 1.0)
    names = list(entrants)
    standings = []
    for entrant in order:
        score = _interval(scores[entrant], drawn[entrant])
        if measures[0].unit == "share":  # what other seeds could add is drawn from a normal, which knows no bounds
            score = replace(score, low=max(score.low, 0.0), high=min(score.high, 1.0))
            score = opened_at_end(score, sums.shape[1]) if quantity is AGGREGATIONS["mean"] else score
        behind = _interval(turn * (scores[leader] - scores[entrant]), turn * (drawn[leader] - drawn[entrant]))
        p_value = float(p_values[entrant])
        standings.append(Standing(names[entrant], score, behind, p_value, is_tied=p_value >= CLEAR_P))
    return standings


def chance_centred(value: float, *, chance: float = 0.0) -> float:
    """Return the score on the scale where `chance` is 0 and 1 stays 1, so that tasks of other chances can be averaged.

    The chance of accuracy over K classes is 1 / K; a score that guessing cannot earn has chance 0.

    Source: (observed - chance) / (1 - chance), Cohen 1960, Educational and Psychological Measurement 20(1).
    """
    assert chance < 1, "a score that chance makes perfect tells nothing"
    return (value - chance) / (1 - chance)


def pareto(points: Mapping[str, tuple[float, float]]) -> set[str]:
    """Return the names of the (quality, cost) points that no other beats: as good in both and better in one.

    Equal points stay together. A point with NaN is none.
    """
    whole = {name: point for name, point in points.items() if not any(map(math.isnan, point))}
    return {name for name, point in whole.items() if not any(_beats(other, point) for other in whole.values())}


def _beats(other: tuple[float, float], point: tuple[float, float]) -> bool:
    return other != point and other[0] >= point[0] and other[1] <= point[1]


def _assert_comparable(entrants: Mapping[str, Sequence[Measure]]) -> None:
    assert all(entrants.values()), "every entrant was measured"
    kinds = {
        (measure.quantity, measure.aggregation, measure.higher_is_better, measure.num_items, measure.weights)
        for runs in entrants.values()
        for measure in runs
    }
    assert len(kinds) == 1, "one quantity over the same items"


def _summable(measures: Sequence[Measure]) -> tuple[Pooled, Floats]:
    """Return how the measures' quantity is made of sums, and each run's parts of them, [G, N, K]."""
    quantity = AGGREGATIONS[measures[0].aggregation]
    numbers = [measure.statistics or _weighted_items(measure) for measure in measures]
    # all runs together, so that they have the same classes and the same shift
    expanded = quantity.expand(np.concatenate([np.asarray(run, dtype=np.float64) for run in numbers]))
    return quantity, expanded.reshape(len(measures), -1, expanded.shape[1])


def _weighted_items(measure: Measure) -> Floats:
    weights = np.ones(measure.num_items) if measure.weights is None else np.asarray(measure.weights)
    return np.stack([weights * np.asarray(measure.items), weights], axis=1)


def _by_entrant(of_runs: Floats, owner: np.ndarray) -> Floats:
    """Return the mean over each entrant's runs, [E, ...] of [G, ...]."""
    return np.stack([of_runs[owner == entrant].mean(axis=0) for entrant in range(owner[-1] + 1)])


def _seed_deviates(values: Floats, draws: Floats, owner: np.ndarray, generator: np.random.Generator) -> Floats:
    """Return what other seeds could have added to each entrant's mean, [E, R]; `values` [G], `draws` [G, R] of runs.

    Variances between an entrant's seeds hold what the items' chance makes of them; that part is in the draws already.
    """
    num_seeds, num_draws = np.bincount(owner), draws.shape[1]
    degrees = num_seeds.sum() - len(num_seeds)
    if not degrees:
        return np.zeros((len(num_seeds), num_draws))
    apart = values - _by_entrant(values, owner)[owner]
    moved = draws - _by_entrant(draws, owner)[owner] - apart[:, None]
    squares = np.stack([np.bincount(owner, apart**2), np.bincount(owner, (moved**2).mean(axis=1))])
    own = squares / np.maximum(num_seeds - 1, 1)
    common = squares.sum(axis=1) / degrees
    likely = degrees / generator.chisquare(degrees, num_draws)
    excess = np.maximum(own[0, :, None] * likely - own[1, :, None], common[0] * likely - common[1])
    normal = generator.standard_normal((len(num_seeds), num_draws))
    deviates: Floats = normal * np.sqrt(np.maximum(excess, 0.0) / num_seeds[:, None])
    return deviates


def _p_against(leader: int, quantity: Pooled, sums: Floats, drawn: Floats, seed: int) -> Floats:
    """Return the p of each other entrant's difference from the leader, [E - 1]; `sums` [E, N, K], `drawn` [E, R]."""
    others = np.delete(np.arange(len(sums)), leader)
    if quantity is AGGREGATIONS["mean"]:
        differences = (sums[leader, :, 0] - sums[others, :, 0]).T
        permuted = sign_flip_p(differences, np.random.default_rng(seed))
    else:
        permuted = np.array([swap_p(quantity, sums[other], sums[leader], seed=seed) for other in others])
    apart = drawn[leader] - drawn[others]
    rarer = np.minimum((apart <= 0).sum(axis=1), (apart >= 0).sum(axis=1))
    crossing = np.minimum(2 * (1 + rarer) / (1 + apart.shape[1]), 1.0)
    larger: Floats = np.maximum(permuted, crossing)
    return larger


def corrected(p_values: Floats) -> Floats:
    """Return the p of comparisons with a leader that the data chose, [E - 1], corrected as `rank` says.

    The smallest is multiplied by the number of pairs among all E, the next by that among E - 1, the largest by one.
    """
    order = np.argsort(p_values, kind="stable")
    left = np.arange(len(p_values) + 1, 1, -1)
    result = np.empty_like(p_values)
    result[order] = np.minimum(np.maximum.accumulate(left * (left - 1) / 2 * p_values[order]), 1.0)
    return result


def _interval(mean: float, draws: Floats) -> Interval:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(float(mean), float(low), float(high))
