"""The claims of distillation against scorecards made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tenfold.evaluation.scorecard import Measure, Score, Scorecard
from tenfold.techniques.distillation import TECHNIQUE
from tenfold.techniques.distillation_floor import LEAD
from tenfold.techniques.technique import Evidence, Verdict


def metric(items: list[float], *, name: str = "exact_match", higher: bool = True, weights: Any = None) -> Measure:
    return Measure(name, "share", higher, tuple(items), weights)


def scorecard(stages: dict[str, list[float]], **options: Any) -> Scorecard:
    scores = []
    for stage, items in stages.items():
        own = metric(items, **options)
        scores.append(Score(stage, "main", {own.name: own}))
    return Scorecard(tuple(scores))


def timings(seconds: dict[str, list[float]], parameters: dict[str, float]) -> Scorecard:
    scores = []
    for stage, items in seconds.items():
        measures = (
            Measure("answer_seconds", "seconds", False, tuple(items)),
            Measure("tokens_per_second", "tokens per second", True, (10.0 / items[0],)),
            Measure("parameters", "parameters", False, (parameters[stage],)),
            Measure("weight_bytes", "bytes", False, (2 * parameters[stage],)),
        )
        scores.append(Score(stage, "serving", {measure.name: measure for measure in measures}))
    return Scorecard(tuple(scores))


def verdict(text: str, card: Scorecard, timed: Scorecard | None = None, **reported: Any) -> Verdict:
    (claim,) = (claim for claim in TECHNIQUE.claims if text in claim.text)
    return claim.judge(Evidence(card, None, None, reported, timed))  # type: ignore[arg-type]


TEN = [1.0] * 10
ALL = [1.0] * 30


@pytest.mark.parametrize(
    ("teacher", "student", "outcome", "told"),
    [
        (ALL, ALL, "held", "1.00 [1.00, 1.00] of its exact match (1.000, the teacher's 1.000)"),
        (TEN, TEN, "unclear", "no row differs, and of 10 such rows it could still be 0.74"),
        (TEN[:5], TEN[:5], "unclear", "5 test rows are too few to show it"),
        (TEN, [0.0] * 10, "not held here", "0.00"),
        (TEN, [1.0] * 9 + [0.0], "unclear", "0.90"),
        ([0.0] * 10, TEN, "unclear", "nothing to keep"),
    ],
)
def test_quality_is_kept_when_all_of_the_interval_says_so(
    teacher: list[float], student: list[float], outcome: str, told: str
) -> None:
    found = verdict(
        "keeps at least", scorecard({"before": [0.0] * len(teacher), "teacher": teacher, "distillation": student})
    )
    assert (found.outcome, told in found.because) == (outcome, True), found


def test_of_a_teacher_no_better_than_guessing_there_is_nothing_to_keep() -> None:
    card = scorecard({"before": [0.0] * 30, "teacher": ALL, "distillation": ALL})
    for is_clear, outcome in ((True, "held"), (False, "unclear")):
        lead = {"guessing": 0.9, "change": "accuracy +0.100 [-0.100, +0.300]", "is clear": is_clear}
        found = verdict("keeps at least", card, **{LEAD: lead})
        assert found.outcome == outcome
        assert ("not clearly better than guessing the commonest answer (accuracy" in found.because) != is_clear


def test_of_a_loss_the_teachers_is_divided_by_the_students() -> None:
    card = scorecard({"teacher": [1.0] * 30, "distillation": [1.05] * 30}, name="response_loss", higher=False)
    found = verdict("keeps at least", card)
    assert found.outcome == "held" and "0.95" in found.because


def test_tokens_of_two_tokenizers_are_not_compared() -> None:
    scores = [
        Score(stage, "main", {"response_loss": metric([1.0, 2.0], name="response_loss", higher=False, weights=weights)})
        for stage, weights in (("teacher", (3.0, 4.0)), ("distillation", (5.0, 6.0)))
    ]
    assert "two tokenizers" in verdict("keeps at least", Scorecard(tuple(scores))).because


def test_a_pooled_metric_is_kept_too() -> None:
    """Micro F1 has counts in place of a value for each row: 8 of 10 found, beside all of them."""
    scores = []
    for stage, found in (("teacher", 10), ("distillation", 8)):
        counts = [(float(place < found), 0.0, float(place >= found)) for place in range(10)]
        scores.append(Score(stage, "main", {"micro_f1": Measure.pooled("micro_f1", counts, by="micro_f1", unit="F1")}))
    told = verdict("keeps at least", Scorecard(tuple(scores))).because
    assert told.startswith(f"{2 * 8 / (2 * 8 + 2):.2f} [") and "of its micro f1 (" in told


@pytest.mark.parametrize(("student", "outcome"), [(0.5, "held"), (2.0, "not held here"), (1.0, "unclear")])
def test_speed_is_judged_by_paired_answers(student: float, outcome: str) -> None:
    seconds = {"teacher": [1.0 + place / 100 for place in range(8)], "distillation": [student] * 8}
    if student == 1.0:
        seconds["distillation"] = [1.1, 0.9, 1.2, 0.8, 1.2, 1.0, 1.1, 1.0]
    found = verdict("faster", Scorecard(), timings(seconds, {"teacher": 10e6, "distillation": 5e6}))
    assert found.outcome == outcome, found


def test_size_is_told_in_parameters_and_bytes() -> None:
    seconds = {"teacher": [1.0], "distillation": [1.0]}
    found = verdict("smaller", Scorecard(), timings(seconds, {"teacher": 10e6, "distillation": 5e6}))
    assert found == Verdict("held", "5.0 of 10.0 million parameters (0.50), 10 of 20 MB in memory")
    assert verdict("smaller", Scorecard()).outcome == verdict("faster", Scorecard()).outcome == "unclear"


@pytest.mark.parametrize(("alone", "outcome"), [([0.0] * 10, "held"), ([1.0] * 10, "unclear"), (None, "unclear")])
def test_the_student_alone_is_the_measure_of_what_the_teacher_gave(alone: list[float] | None, outcome: str) -> None:
    stages = {"before": [0.0] * 10, "teacher": TEN, **({} if alone is None else {"alone": alone}), "distillation": TEN}
    assert verdict("without its teacher", scorecard(stages)).outcome == outcome
