"""Rankings against known truth: entrants whose scores are drawn, and small cases worked out by hand.

Rates come from a few hundred comparisons; `docs/comparing.md` has those of many more.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from evidence.simulate import World, rates
from tenfold.compare.ranking import chance_centred, corrected, pareto, rank
from tenfold.evaluation.scorecard import Measure
from tenfold.evaluation.statistics import paired_test


def accuracy(
    *runs: list[float], higher_is_better: bool = True, weights: tuple[float, ...] | None = None
) -> list[Measure]:
    return [Measure("accuracy", "share", higher_is_better, tuple(run), weights) for run in runs]


def shares(right: int, wrong: int) -> list[float]:
    return [1.0] * right + [0.0] * wrong


@pytest.mark.parametrize(("num_entrants", "num_seeds", "spread"), [(2, 1, 0.0), (5, 3, 0.06), (10, 3, 0.02)])
def test_of_tied_entrants_a_false_winner_is_as_rare_as_promised(
    num_entrants: int, num_seeds: int, spread: float
) -> None:
    # 5 % of 100 has a standard error of 2.2 points: twice 5 % is beyond 2 of them
    found = rates(World(num_entrants, num_seeds, 60, seed_spread=spread), comparisons=100)
    assert found.false_winner <= found.false_difference < 0.10
    # scores of one comparison share their rows, so 2 entrants' 200 intervals are worth some 130
    assert 0.90 <= found.coverage <= 0.985


def test_a_difference_of_a_tenth_is_found_with_300_rows_and_five_seeds() -> None:
    # the page has 98.8 % for this; 40 comparisons at 80 % have a standard error of 6 points
    found = rates(World(2, 5, 300, seed_spread=0.02, lift=0.1), comparisons=40)
    assert found.winner >= 0.80
    assert found.false_winner == 0


def test_one_lucky_seed_is_no_win() -> None:
    plain, lucky = shares(60, 40), shares(95, 5)
    by_luck, leader = rank({"plain": accuracy(plain, plain, plain), "lucky": accuracy(plain, plain, lucky)})[::-1]
    assert (leader.name, by_luck.name) == ("lucky", "plain")
    assert by_luck.is_tied
    assert by_luck.behind.low < 0 < by_luck.behind.high
    steady = rank({"plain": accuracy(plain, plain, plain), "better": accuracy(lucky, lucky, lucky)})
    assert [row.is_tied for row in steady] == [True, False]


def test_the_luck_of_seeds_is_told_from_items_alone_only_with_several() -> None:
    plain, lucky = shares(60, 40), shares(95, 5)
    once = rank({"plain": accuracy(plain), "lucky": accuracy(lucky)})
    assert not once[1].is_tied
    # an entrant with one seed has the spread of those with several
    mixed = rank({"plain": accuracy(plain), "lucky": accuracy(lucky), "wild": accuracy(shares(30, 70), lucky)})
    assert all(row.is_tied for row in mixed)


def test_seeds_that_differ_as_much_as_their_items_make_them_widen_little() -> None:
    # seeds of equal chance differ by their items alone, which the draws of items have in them already: were that part
    # not taken away, widths would be 1.4 times those of items alone; what is left is that 20 seeds cannot prove it
    generator = np.random.default_rng(0)
    widths = []
    for number, drawn in enumerate((generator.random((20, 10, 3, 100)) < 0.7).astype(float)):
        table = rank({str(entrant): accuracy(*runs.tolist()) for entrant, runs in enumerate(drawn)}, seed=number)
        items_alone = {str(entrant): 0.392 * runs.mean(axis=0).std() for entrant, runs in enumerate(drawn)}
        widths += [(row.score.high - row.score.low) / items_alone[row.name] for row in table]
    assert 0.95 < float(np.median(widths)) < 1.3


def test_a_run_without_a_value_leaves_the_others_as_they_are() -> None:
    good, poor = shares(90, 10), shares(50, 50)
    others = {"good": accuracy(good, good), "poor": accuracy(poor, poor)}
    lost = accuracy(good, [math.nan] * 100)
    table = rank({"lost": lost, **others})
    assert table[:2] == rank(others)
    assert [(row.name, row.is_defined) for row in table] == [("good", True), ("poor", True), ("lost", False)]
    assert not table[1].is_tied
    assert table[2].p_value == 1.0 and table[2].is_tied, "nothing shows that it is worse"
    assert [row.is_defined for row in rank({"lost": lost})] == [False]


def test_a_single_pair_is_the_paired_test() -> None:
    generator = np.random.default_rng(1)
    early, late = (generator.normal(0, 1, 40) for _ in range(2))
    late += 0.6
    leader, other = rank({"early": accuracy(early.tolist()), "late": accuracy(late.tolist())})
    expected = paired_test(early.tolist(), late.tolist())
    assert leader.name == "late"
    assert other.behind.mean == pytest.approx(expected.difference.mean)
    # percentiles of 2,000 and of 10,000 draws
    assert other.behind.low == pytest.approx(expected.difference.low, abs=0.05)
    assert other.p_value == pytest.approx(expected.p_value, abs=0.01)
    assert (leader.behind.low, leader.behind.mean, leader.behind.high) == (0, 0, 0)
    assert (leader.p_value, leader.is_tied) == (1, True)


def test_where_lower_is_better_the_lowest_leads_and_behind_is_still_positive() -> None:
    errors = {"bad": accuracy([0.5] * 50, higher_is_better=False), "good": accuracy([0.1] * 50, higher_is_better=False)}
    good, bad = rank(errors)
    assert (good.name, bad.name) == ("good", "bad")
    assert bad.behind.mean == pytest.approx(0.4)
    assert bad.behind.low > 0
    assert not bad.is_tied


def test_weights_make_a_ratio_of_sums() -> None:
    weights = (1.0, 3.0, 1.0, 5.0, 2.0, 4.0, 4.0)
    rates_of_words = [0.0, 1.0, 0.5, 0.2, 0.0, 0.25, 0.75]
    (row,) = rank({"a": accuracy(rates_of_words, weights=weights)})
    assert row.score.mean == pytest.approx(accuracy(rates_of_words, weights=weights)[0].value)
    assert row.score.low < row.score.mean < row.score.high


def test_few_rows_and_equal_values_are_ties() -> None:
    for count in (1, 2, 5):
        table = rank({"a": accuracy([1.0] * count), "b": accuracy([0.0] * count)})
        assert [row.name for row in table] == ["a", "b"]
        assert all(row.is_tied for row in table)
    ones = accuracy(*[[1.0] * 50] * 3)
    table = rank({"first": ones, "second": ones, "third": ones[:1]})
    assert [row.name for row in table] == ["first", "second", "third"]
    assert all(row.is_tied and row.p_value == 1 and row.score.high == 1 for row in table)
    assert table[0].score.low == pytest.approx(0.929, abs=1e-3), "50 rows leave room for errors that none of them shows"
    assert rank({}) == []


def classes(wanted: np.ndarray, answered: np.ndarray) -> Measure:
    pairs = np.stack([wanted, answered], axis=1).astype(float).tolist()
    return Measure.pooled("macro_f1", pairs, by="macro_f1", unit="share")


def test_macro_f1_is_ranked_by_what_its_counts_come_to() -> None:
    generator = np.random.default_rng(2)
    wanted = generator.integers(0, 3, 150)
    # the last class is answered by nobody but `guess`: all must be expanded to the same classes
    guess = generator.integers(0, 5, (2, 150))
    near = np.where(generator.random((3, 150)) < 0.7, wanted, (wanted + 1) % 3)
    also = np.where(generator.random((2, 150)) < 0.7, wanted, (wanted + 1) % 3)
    runs = {"guess": guess, "near": near, "also": also}
    table = rank({name: [classes(wanted, run) for run in answered] for name, answered in runs.items()})
    means = {
        name: np.mean([f1_score(wanted, run, average="macro") for run in answered]) for name, answered in runs.items()
    }
    assert [row.name for row in table] == sorted(means, key=lambda name: -means[name])
    assert {row.name: row.score.mean for row in table} == pytest.approx(means)
    assert [row.is_tied for row in table] == [True, True, False]
    assert table[-1].name == "guess"


def test_a_quantity_that_is_not_defined_is_last_and_beaten_by_nobody() -> None:
    flat = Measure.pooled("pearson", [(1.0, float(item)) for item in range(9)], by="pearson", unit="r")
    some = Measure.pooled("pearson", [(item % 4, float(item)) for item in range(9)], by="pearson", unit="r")
    table = rank({"flat": [flat], "some": [some]})
    assert [row.name for row in table] == ["some", "flat"]
    assert math.isnan(table[1].score.mean)
    assert table[1].is_tied


def test_other_items_or_metrics_are_refused() -> None:
    with pytest.raises(AssertionError, match="same items"):
        rank({"a": accuracy([1.0, 0.0]), "b": accuracy([1.0])})
    with pytest.raises(AssertionError, match="same items"):
        rank({"a": accuracy([1.0]), "b": accuracy([1.0], higher_is_better=False)})
    with pytest.raises(AssertionError, match="measured"):
        rank({"a": accuracy([1.0]), "b": []})


def test_the_seed_decides_the_draws() -> None:
    entrants = {"a": accuracy(shares(7, 13), shares(9, 11)), "b": accuracy(shares(5, 15), shares(4, 16))}
    assert rank(entrants, seed=1) == rank(entrants, seed=1) != rank(entrants, seed=2)


def test_the_correction_counts_the_pairs_that_are_left() -> None:
    # four entrants: 6 pairs, then 3 among the three left, then 1; never smaller than one before
    assert corrected(np.array([0.02, 0.001, 0.03])) == pytest.approx([0.06, 0.006, 0.06])
    assert corrected(np.array([0.04])) == pytest.approx([0.04])
    assert corrected(np.array([0.5, 0.5])) == pytest.approx([1.0, 1.0])


def test_scores_of_other_chances_meet_on_one_scale() -> None:
    assert chance_centred(0.25, chance=0.25) == 0
    assert chance_centred(1.0, chance=0.25) == 1
    assert chance_centred(0.75, chance=0.5) == 0.5
    assert chance_centred(0.4) == 0.4


def test_the_front_holds_what_nothing_beats() -> None:
    points = {"cheap": (0.5, 1.0), "same": (0.5, 1.0), "good": (0.9, 9.0), "worse": (0.9, 9.5), "poor": (0.4, 2.0)}
    assert pareto(points) == {"cheap", "same", "good"}
    assert pareto({**points, "lost": (math.nan, 0.0)}) == {"cheap", "same", "good"}
    assert pareto({}) == set()


def test_the_interval_of_a_share_stays_between_0_and_1() -> None:
    seeds = [Measure("accuracy", "share", True, tuple(float(n < right) for n in range(60))) for right in (0, 2, 5)]
    high, low = rank({"low": seeds, "high": [replace(each, items=tuple(1 - x for x in each.items)) for each in seeds]})
    assert low.score.low == 0.0 < low.score.high and high.score.low < 1.0 == high.score.high
