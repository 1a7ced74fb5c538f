"""Transfer and forgetting against matrices worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.errors import ArtifactError
from tenfold.evaluation.lineage import Ancestor, Lineage
from tenfold.evaluation.scorecard import BEFORE, Measure, Score, Scorecard
from tenfold.evaluation.statistics import bootstrap, difference_draws, mean_of
from tenfold.evaluation.transfer import Step, mean_gain, shared_metrics, transfer
from tenfold.evaluation.transfer_view import matrix_markdown, stage_matrix, transfer_lines

TASKS = ("a", "b", "c")
MATRIX = {
    BEFORE: (0.10, 0.20, 0.30),
    "one": (0.80, 0.25, 0.20),
    "two": (0.90, 0.70, 0.50),
    "three": (0.60, 0.55, 0.95),
}
TRAINED = {"one": "a", "two": "b", "three": "c"}


def scorecard(
    matrix: dict[str, tuple[float, ...]] = MATRIX, *, higher_is_better: bool = True, name: str = "exact_match"
) -> Scorecard:
    """Return a scorecard in which every item of a task scores alike, so that intervals are points."""
    card = Scorecard()
    for stage, row in matrix.items():
        for task, value in zip(TASKS, row, strict=False):
            measure = Measure(name, "share", higher_is_better, (value,) * 8)
            card = card.add(Score(stage, task, {name: measure}))
    return card


def lineage(trained: dict[str, str] = TRAINED) -> Lineage:
    stages, before = [], BEFORE
    for stage, task in trained.items():
        stages.append(Ancestor(stage, (task,), before, "lora", "aa", stage))
        before = stage
    return Lineage(tuple(stages), tuple(trained))


def test_three_stages_by_hand() -> None:
    found = transfer(scorecard(), TRAINED)
    assert found is not None
    # ((0.60 - 0.80) + (0.55 - 0.70)) / 2
    assert found.backward.mean == pytest.approx(-0.175)
    # ((0.25 - 0.20) + (0.50 - 0.30)) / 2: the row before each task's own stage
    assert found.forward.mean == pytest.approx(0.125)
    # a was best after stage two: ((0.90 - 0.60) + (0.70 - 0.55)) / 2
    assert found.forgetting.mean == pytest.approx(0.225)
    assert {task: each.mean for task, each in found.forgotten.items()} == pytest.approx({"a": 0.30, "b": 0.15})
    assert found.backward.low == pytest.approx(found.backward.high)


def test_less_is_better_turns_the_sign() -> None:
    losses = {stage: tuple(1 - value for value in row) for stage, row in MATRIX.items()}
    found = transfer(scorecard(losses, higher_is_better=False), TRAINED)
    straight = transfer(scorecard(), TRAINED)
    assert found is not None and straight is not None
    for name in ("backward", "forward", "forgetting"):
        assert vars(found)[name].mean == pytest.approx(vars(straight)[name].mean)


def test_a_task_that_comes_again_counts_from_its_last_stage_backward_and_its_first_forward() -> None:
    matrix = {BEFORE: (0.1, 0.2), "one": (0.5, 0.3), "two": (0.4, 0.9), "three": (0.8, 0.6)}
    found = transfer(scorecard(matrix), {"one": "a", "two": "b", "three": "a"})
    assert found is not None
    assert found.backward.mean == pytest.approx(0.6 - 0.9)
    assert found.forward.mean == pytest.approx(0.3 - 0.2)
    assert found.forgetting.mean == pytest.approx(0.9 - 0.6)


@pytest.mark.parametrize("trained", [{}, {"one": "a"}, {"one": "a", "two": "a"}])
def test_one_task_has_no_transfer(trained: dict[str, str]) -> None:
    assert transfer(scorecard(), trained) is None


def test_intervals_draw_items_within_each_task() -> None:
    generator = np.random.default_rng(0)
    groups = [generator.normal(size=30).tolist(), generator.normal(3, 0.1, size=300).tolist()]
    found = mean_of([difference_draws([0.0] * len(group), group, seed=seed) for seed, group in enumerate(groups)])
    assert found.mean == pytest.approx((np.mean(groups[0]) + np.mean(groups[1])) / 2)
    # by theory: the standard error of a mean of two independent means; 1.96 of them either side
    error = np.sqrt(np.var(groups[0]) / 30 + np.var(groups[1]) / 300) / 2
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    alone = mean_of([difference_draws([0.0] * 30, groups[0])])
    assert vars(alone) == pytest.approx(vars(bootstrap(groups[0])))


def test_measures_that_are_no_means_over_items_are_averaged_too() -> None:
    """Micro F1 of (found, spurious, missed): 2 of 4 found, then 3 of 4."""
    card = Scorecard()
    for stage, found in {"early": (1, 1, 0, 0), "late": (1, 1, 1, 0)}.items():
        counts = [(each, 0, 1 - each) for each in found]
        measure = Measure.pooled("micro_f1", counts, by="micro_f1", unit="share")
        card = card.add(Score(stage, "a", {"micro_f1": measure}))
    gain = mean_gain(card, [Step("a", "early", "late")], {"a": "micro_f1"})
    change = card.change("a", "micro_f1", before="early", after="late")
    assert gain is not None and change is not None
    assert gain.mean == pytest.approx(6 / 7 - 2 / 3)
    assert gain == change.test.difference


def test_a_gain_is_paired_item_by_item() -> None:
    card = Scorecard()
    for stage, items in {"early": (0.0, 1.0, 0.0, 1.0), "late": (0.5, 1.5, 0.5, 1.5)}.items():
        card = card.add(Score(stage, "a", {"m": Measure("m", "share", True, items)}))
    found = mean_gain(card, [Step("a", "early", "late")], {"a": "m"})
    assert found is not None
    assert (found.low, found.mean, found.high) == (0.5, 0.5, 0.5), "every item rose by the same"
    assert mean_gain(card, [Step("a", "never", "late")], {"a": "m"}) is None


def test_tasks_without_a_unit_in_common_are_judged_by_a_measure_that_all_have() -> None:
    loss = Measure("response_loss", "nats per token", False, (1.0,))
    share = Measure("exact_match", "share", True, (1.0,))
    card = Scorecard().add(Score("one", "a", {"exact_match": share, "response_loss": loss}))
    mixed = card.add(Score("one", "b", {"response_loss": loss}))
    assert shared_metrics(mixed, ["a", "b"]) == {"a": "response_loss", "b": "response_loss"}
    apart = card.add(Score("one", "b", {"wer": Measure("wer", "errors", False, (1.0,))}))
    assert shared_metrics(apart, ["a", "b"]) is None
    assert shared_metrics(card, ["a", "missing"]) is None


def test_the_matrix_marks_what_was_trained_and_tells_the_transfer() -> None:
    rows = stage_matrix(scorecard(), lineage())
    assert rows is not None
    assert rows[0] == ("stage", "a (exact match)", "b (exact match)", "c (exact match)")
    assert [row[0] for row in rows[1:]] == [BEFORE, "one", "two", "three"]
    assert [cell.endswith("*") for cell in rows[3][1:]] == [False, True, False]
    figures = {name: figure for name, figure, _ in transfer_lines(scorecard(), lineage())}
    assert figures["backward transfer"].startswith("-0.175")
    assert figures["forgetting a"].startswith("+0.300")
    assert "| two | 0.90 [0.90, 0.90] | 0.70 [0.70, 0.70] * |" in matrix_markdown(scorecard(), lineage())


def test_one_stage_or_one_task_needs_no_matrix() -> None:
    one = {stage: MATRIX[stage] for stage in (BEFORE, "one")}
    assert stage_matrix(scorecard(one), lineage({"one": "a"})) is None
    assert matrix_markdown(scorecard(one), lineage({"one": "a"})) == ""
    assert stage_matrix(scorecard({stage: row[:1] for stage, row in MATRIX.items()}), lineage()) is None


def test_a_lineage_reads_back_equal_and_a_damaged_one_is_refused() -> None:
    assert Lineage.from_json(lineage().to_json()) == lineage()
    assert lineage().taught() == TASKS and lineage().trained_tasks() == TRAINED
    for damaged in ({}, {"stages": [{"name": "a"}], "saved": []}, {"stages": [], "saved": ["a"]}):
        with pytest.raises(ArtifactError):
            Lineage.from_json(damaged)
