"""Pooled quantities equal scikit-learn's; their intervals and tests are those of the plain definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, f1_score, log_loss, r2_score

from tenfold.evaluation.label_metrics import class_measures, label_measures, number_measures
from tenfold.evaluation.pooled import pooled_interval, pooled_ratio, pooled_test, pooled_value
from tenfold.evaluation.scorecard import Measure, Score, Scorecard
from tenfold.evaluation.span_metrics import answer_measures, entities, plain, tag_measures

RANDOM = np.random.default_rng(0)
WANTED = RANDOM.integers(0, 4, 60)
CHANCES = RANDOM.dirichlet([1.0] * 4, 60)
ANSWERED = CHANCES.argmax(axis=1)


def values(measures: list[Measure]) -> dict[str, float]:
    return {measure.name: measure.value for measure in measures}


def test_measures_of_classes_are_scikit_learns() -> None:
    found = values(class_measures(CHANCES.tolist(), WANTED.tolist()))
    assert found["accuracy"] == pytest.approx(float((ANSWERED == WANTED).mean()))
    assert found["macro_f1"] == pytest.approx(f1_score(WANTED, ANSWERED, average="macro"))
    assert found["negative_log_likelihood"] == pytest.approx(log_loss(WANTED, CHANCES, labels=range(4)))
    assert found["brier_score"] == pytest.approx(
        brier_score_loss(WANTED, CHANCES, labels=range(4), scale_by_half=False)
    )


def test_classes_that_do_not_occur_are_left_out_of_macro_f1() -> None:
    wanted, answered = [0, 0, 7, 7], [0, 7, 7, 7]
    pairs = list(zip(map(float, wanted), map(float, answered), strict=True))
    assert pooled_value("macro_f1", pairs) == pytest.approx(f1_score(wanted, answered, average="macro"))


def test_the_calibration_error_is_the_mean_gap_of_bins() -> None:
    # in bins of 1/15: two at 0.9 (one right), one at 0.5 (right): gaps |1.8 - 1| and |0.5 - 1|, over three
    pairs = [(0.9, 1.0), (0.9, 0.0), (0.5, 1.0)]
    assert pooled_value("calibration_error", pairs) == pytest.approx((0.8 + 0.5) / 3)
    assert pooled_value("calibration_error", [(1.0, 1.0)]) == 0.0


def test_measures_of_label_sets_are_scikit_learns() -> None:
    wanted = RANDOM.integers(0, 2, (40, 5)).astype(float)
    chances = RANDOM.random((40, 5))
    found = values(label_measures(chances.tolist(), wanted.tolist(), thresholds=[0.3] * 5))
    answered = chances >= 0.3
    assert found["micro_f1"] == pytest.approx(f1_score(wanted, answered, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(wanted, answered, average="macro"))
    assert found["accuracy"] == pytest.approx(float((wanted == answered).all(axis=1).mean()))
    each = [log_loss(wanted[:, n], chances[:, n], labels=[0, 1]) for n in range(5)]
    assert found["negative_log_likelihood"] == pytest.approx(float(np.mean(each)))
    squares = [brier_score_loss(wanted[:, n], chances[:, n]) for n in range(5)]
    assert found["brier_score"] == pytest.approx(float(np.mean(squares)))


def test_measures_of_numbers_are_scikit_learns_and_numpys() -> None:
    wanted = RANDOM.normal(1e6, 2.0, 50)  # far from zero: sums of squares must not lose their digits
    answered = wanted + RANDOM.normal(0.5, 1.0, 50)
    found = values(number_measures(answered.tolist(), wanted.tolist()))
    assert found["mean_absolute_error"] == pytest.approx(float(np.abs(wanted - answered).mean()))
    assert found["r_squared"] == pytest.approx(r2_score(wanted, answered), rel=1e-6)
    assert found["pearson"] == pytest.approx(float(np.corrcoef(wanted, answered)[0, 1]), rel=1e-6)
    assert list(values(number_measures([1.0, 2.0], [3.0, 3.0]))) == ["mean_absolute_error"]


def test_an_interval_resamples_items_and_takes_the_quantity_anew() -> None:
    pairs = list(zip(WANTED.astype(float).tolist(), ANSWERED.astype(float).tolist(), strict=True))
    interval = pooled_interval("macro_f1", pairs)
    generator = np.random.default_rng(1)  # other draws than ours
    draws = []
    for _ in range(1000):
        kept = generator.integers(60, size=60)
        draws.append(f1_score(WANTED[kept], ANSWERED[kept], average="macro", zero_division=0.0))
    low, high = np.quantile(draws, [0.025, 0.975])
    # a quantile of a thousand draws moves by about 0.006 from one seed to another
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=0.02)
    assert interval.mean == pytest.approx(f1_score(WANTED, ANSWERED, average="macro"))


def test_a_paired_test_swaps_the_two_outcomes_of_items() -> None:
    early = [(1.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0), (0.0, 1.0), (0.0, 1.0)]
    late = [(1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)]
    test = pooled_test("macro_f1", early, late)
    observed = pooled_value("macro_f1", late) - pooled_value("macro_f1", early)
    assert test.difference.mean == pytest.approx(observed)
    extreme = 0
    for code in range(2**6):
        swapped = [code >> n & 1 for n in range(6)]
        one = [late[n] if swapped[n] else early[n] for n in range(6)]
        two = [early[n] if swapped[n] else late[n] for n in range(6)]
        extreme += abs(pooled_value("macro_f1", two) - pooled_value("macro_f1", one)) >= observed - 1e-9
    assert test.p_value == pytest.approx(extreme / 2**6, abs=0.015)  # 10,000 random swaps of all 64
    assert pooled_test("macro_f1", early, early).p_value == 1.0
    assert pooled_test("macro_f1", early, early).verdict == "no clear change"


def test_a_scorecard_keeps_statistics_and_pairs_stages_by_them() -> None:
    def score(stage: str, answered: list[int]) -> Score:
        pairs = [(float(n % 2), float(place)) for n, place in enumerate(answered)]
        measure = Measure.pooled("macro_f1", pairs, by="macro_f1", unit="share")
        return Score(stage, "main", {"macro_f1": measure})

    card = Scorecard().add(score("before", [0] * 20)).add(score("after", [0, 1] * 10))
    assert Scorecard.from_json(card.to_json()) == card
    change = card.change("main", "macro_f1")
    assert change is not None and change.is_better
    assert change.test.difference.mean == pytest.approx(1 - 1 / 3)  # F1 2/3 and 0 became 1 and 1
    assert card.scores[0].primary.num_items == 20


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("O B-a I-a O", [("a", 1, 2)]),
        ("B-a B-a", [("a", 0, 0), ("a", 1, 1)]),
        ("I-a I-a O I-b", [("a", 0, 1), ("b", 3, 3)]),
        ("B-a I-b I-b", [("a", 0, 0), ("b", 1, 2)]),
        ("B-a O I-a", [("a", 0, 0), ("a", 2, 2)]),
        ("B-New-York I-New-York", [("New-York", 0, 1)]),
        ("O O", []),
    ],
)
def test_entities_are_those_that_a_reader_counts(tags: str, expected: list[tuple[str, int, int]]) -> None:
    assert entities(tags.split()) == expected


def test_entity_f1_counts_whole_entities_over_all_rows() -> None:
    wanted = [["B-a", "I-a", "O", "B-b"], ["B-a", "O"]]
    answered = [["B-a", "O", "O", "B-b"], ["B-a", "B-b"]]
    # found: b and the second row's a; spurious: the short a and b; missed: the long a
    found = values(tag_measures(answered, wanted))
    assert found["entity_f1"] == pytest.approx(2 * 2 / (2 * 2 + 2 + 1))
    assert found["tag_accuracy"] == pytest.approx(4 / 6)
    assert list(values(tag_measures([["N"]], [["V"]]))) == ["tag_accuracy"]


def test_answers_are_read_as_squads_own_script_reads_them() -> None:
    assert plain("  The Cat, a dog & an ox! ") == "cat dog ox"
    found = answer_measures(["the cat", "a big dog", ""], [["Cat!", "dog"], ["dog"], ["ox"]])
    by_name = {measure.name: measure.items for measure in found}
    assert by_name["squad_exact_match"] == (1.0, 0.0, 0.0)
    assert by_name["squad_f1"] == pytest.approx((1.0, 2 / 3, 0.0))
    assert not math.isnan(found[0].value)


def test_a_ratio_is_that_of_the_quantities_and_its_interval_that_of_whole_resamples() -> None:
    better = np.where(RANDOM.random(60) < 0.8, WANTED, ANSWERED)
    above, below = (list(zip(map(float, WANTED), map(float, said), strict=True)) for said in (ANSWERED, better))
    found = pooled_ratio("macro_f1", above, below)
    assert found is not None
    scores = [f1_score(WANTED, said, average="macro") for said in (ANSWERED, better)]
    assert found.mean == pytest.approx(scores[0] / scores[1])
    generator, ratios = np.random.default_rng(5), []
    for _ in range(600):
        drawn = generator.integers(60, size=60)
        tops = [f1_score(WANTED[drawn], said[drawn], average="macro") for said in (ANSWERED, better)]
        ratios.append(tops[0] / tops[1])
    # 600 other draws: the ends of an interval move by a few hundredths of its width
    wanted = np.quantile(ratios, [0.025, 0.975])
    width = wanted[1] - wanted[0]
    assert [found.low, found.high] == pytest.approx(list(wanted), abs=0.15 * width)


def test_of_nothing_there_is_no_share() -> None:
    right, wrong = [(0.0, 0.0), (1.0, 1.0)], [(0.0, 1.0), (1.0, 0.0)]
    assert pooled_ratio("macro_f1", right, wrong) is None
    found = pooled_ratio("macro_f1", right, right)
    assert found is not None and (found.mean, found.low, found.high) == (1.0, 1.0, 1.0)
    # a teacher worse than the mean has a negative R², of which no share can be kept
    assert pooled_ratio("r_squared", [(1.0, 1.0), (2.0, 2.0)], [(2.0, 1.0), (1.0, 2.0)]) is None
