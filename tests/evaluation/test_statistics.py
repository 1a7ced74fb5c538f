from __future__ import annotations

import itertools

import numpy as np
import pytest

from tenfold.evaluation.statistics import FEWEST_ROWS, bootstrap, opened_at_end, paired_ratio, paired_test

SIMULATIONS = 400


@pytest.mark.parametrize("kind", ["binary", "normal"])
def test_intervals_hold_the_truth_about_95_times_in_100(kind: str) -> None:
    # 95 % of 400 has a standard error of 1.1 points; intervals of 60 items fall a point short
    generator = np.random.default_rng(7)
    held = 0
    for seed in range(SIMULATIONS):
        truth = 0.3 if kind == "binary" else 1.0
        values = generator.random(60) < truth if kind == "binary" else generator.normal(truth, 2.0, 60)
        interval = bootstrap(values.astype(float).tolist(), seed=seed)
        held += interval.low <= truth <= interval.high
    assert 0.90 <= held / SIMULATIONS <= 0.97


def test_a_weighted_mean_is_a_ratio_of_sums_and_its_intervals_hold_the_truth() -> None:
    generator = np.random.default_rng(3)
    held = 0
    for seed in range(SIMULATIONS):
        num_bytes = generator.integers(20, 400, 60)
        losses = num_bytes * generator.normal(1.5, 0.4, 60)
        interval = bootstrap((losses / num_bytes).tolist(), weights=num_bytes.tolist(), seed=seed)
        assert interval.mean == pytest.approx(losses.sum() / num_bytes.sum())
        held += interval.low <= 1.5 <= interval.high
    assert 0.90 <= held / SIMULATIONS <= 0.97


def test_the_normal_interval_is_met_for_many_items() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 2000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    interval = bootstrap(values.tolist())
    assert interval.mean == pytest.approx(values.mean())
    # quantiles of 2,000 resamples scatter by some 4 % of the half width
    assert interval.low == pytest.approx(values.mean() - half, abs=0.12 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.12 * half)


def test_confidence_and_seed_are_heeded() -> None:
    values = np.random.default_rng(1).random(50).tolist()
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1)
    assert bootstrap(values, seed=1) != bootstrap(values, seed=2)
    narrow, wide = (bootstrap(values, confidence=share) for share in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_items_without_weight_do_not_count() -> None:
    kept = bootstrap([1.0, 2.0, 9.0], weights=[1.0, 1.0, 0.0])
    assert kept.mean == 1.5
    assert 1.0 <= kept.low <= kept.high <= 2.0
    assert bootstrap([0.25]).low == 0.25


def test_the_exact_p_counts_all_sign_flips() -> None:
    before, after = [0.1, 0.5, 0.2, 0.9, 0.4, 0.3], [0.4, 0.4, 0.9, 1.0, 0.8, 0.7]
    differences = [late - early for early, late in zip(before, after, strict=True)]
    observed = abs(sum(differences))
    flips = [
        abs(sum(sign * value for sign, value in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=6)
    ]
    expected = sum(flip >= observed - 1e-12 for flip in flips) / 64
    assert paired_test(before, after).p_value == pytest.approx(expected)


def test_random_flips_agree_with_the_binomial_law_and_never_give_zero() -> None:
    # 14 of 20 pairs rose by one, 6 fell by one: the sign test's two-sided p is 2 P(X >= 14), X ~ Bin(20, 1/2)
    after = [1.0] * 14 + [-1.0] * 6
    expected = 0.115318
    assert paired_test([0.0] * 20, after).p_value == pytest.approx(expected, abs=0.012)  # 4 standard errors
    assert paired_test([0.0] * 40, [1.0] * 40).p_value == pytest.approx(1 / 10_001)


def test_nothing_changed_is_found_to_have_changed_about_5_times_in_100() -> None:
    generator = np.random.default_rng(11)
    pairs = [generator.normal(0.0, 1.0, (2, 30)) for _ in range(SIMULATIONS)]
    tests = [paired_test(*pair.tolist(), seed=seed) for seed, pair in enumerate(pairs)]
    false = sum(test.p_value < 0.05 for test in tests) / SIMULATIONS
    assert 0.025 <= false <= 0.08  # 5 % with 2.5 standard errors of 1.1 points
    assert sum(test.verdict != "no clear change" for test in tests) / SIMULATIONS <= false


def test_verdicts_need_both_the_interval_and_the_p_value() -> None:
    zeros, ones = [0.0] * 20, [1.0] * 20
    assert paired_test(zeros, ones).verdict == "rose"
    assert paired_test(ones, zeros).verdict == "fell"
    assert paired_test(ones, ones).verdict == "no clear change"
    assert paired_test(ones, ones).p_value == 1
    few = paired_test(zeros[:3], ones[:3])
    assert few.difference.low > 0
    assert few.verdict == "no clear change"


def test_fewer_rows_than_the_fewest_can_never_be_clear() -> None:
    for count in range(1, 9):
        test = paired_test([0.0] * count, [1.0] * count)
        assert (test.verdict == "rose") == (count >= FEWEST_ROWS)


def test_paired_differences_are_sharper_than_apart() -> None:
    generator = np.random.default_rng(5)
    before = generator.normal(0, 5, 100)
    after = before + generator.normal(0.5, 0.2, 100)
    test = paired_test(before.tolist(), after.tolist())
    assert test.verdict == "rose"
    assert bootstrap(before.tolist()).high > bootstrap(after.tolist()).low  # apart, they overlap


def test_weights_reach_the_difference() -> None:
    test = paired_test([1.0, 1.0], [2.0, 4.0], weights=[3.0, 1.0])
    assert test.difference.mean == pytest.approx((3 * 1 + 1 * 3) / 4)


def test_a_ratio_of_means_has_the_interval_of_its_resampled_pairs() -> None:
    generator = np.random.default_rng(3)
    below = generator.uniform(1, 2, size=40)
    above = 0.5 * below + generator.normal(0, 0.05, size=40)
    found = paired_ratio(above.tolist(), below.tolist())
    assert found is not None
    assert found.mean == pytest.approx(above.mean() / below.mean())
    ratios = []
    for _ in range(2000):
        drawn = generator.integers(40, size=40)
        ratios.append(above[drawn].mean() / below[drawn].mean())
    low, high = np.quantile(ratios, [0.025, 0.975])
    # two sets of 2,000 draws: a tenth of the interval's width apart at most
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))
    assert paired_ratio([1.0, 2.0], [0.0, 0.0]) is None


def test_a_weighted_ratio_counts_each_item_by_its_weight() -> None:
    found = paired_ratio([1.0, 0.0], [1.0, 1.0], weights=[3.0, 1.0])
    assert found is not None and found.mean == pytest.approx(0.75)


def test_a_share_that_no_item_speaks_against_is_not_certain() -> None:
    ten = opened_at_end(bootstrap([1.0] * 10), 10)
    assert (ten.mean, ten.high) == (1.0, 1.0) and ten.low == pytest.approx(0.692, abs=1e-3), "Clopper and Pearson's"
    none = opened_at_end(bootstrap([0.0] * 100), 100)
    assert (none.mean, none.low) == (0.0, 0.0) and none.high == pytest.approx(0.036, abs=1e-3)
    some = bootstrap([0.0, 1.0, 1.0])
    assert opened_at_end(some, 3) == some
