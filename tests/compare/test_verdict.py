"""What is said of comparisons whose truth is planted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tenfold.compare.comparison import Comparison, Entry
from tenfold.compare.verdict import listed, percent, ratio, standings_of, verdict
from tenfold.evaluation.scorecard import Measure, Score
from tests.compare.artifacts import accuracy, artifact, rows_of

GOOD = [1.0] * 38 + [0.0] * 2
FAIR = [1.0] * 33 + [0.0] * 7
POOR = [1.0] * 10 + [0.0] * 30
BITS = [1.0 + 0.01 * number for number in range(12)]


def entry(folder: Path, name: str, items: Sequence[float], seconds: float = 60.0, **others: Any) -> Entry:
    runs = tuple(artifact(folder / f"{name}-{seed}", items, seed=seed, seconds=seconds, **others) for seed in (0, 1))
    return Entry(name, runs)


def said(*entries: Entry) -> list[str]:
    comparison = Comparison("ways", entries)
    return verdict(comparison, standings_of(comparison))


def test_a_clear_leader_is_best_and_the_fastest_if_it_is(tmp_path: Path) -> None:
    told = said(entry(tmp_path, "task_specific", GOOD, 10), entry(tmp_path, "other", POOR, 40))
    assert told[0].startswith("Task specific is best: accuracy 0.95 [0.")
    assert told[0].endswith("clearly ahead of the other.")
    assert told[1:] == ["It also trains fastest: 10 s, where other takes 4.0 times as long."]


def test_ties_are_named_and_the_cheapest_of_them(tmp_path: Path) -> None:
    near = [*GOOD[1:], 1.0]
    told = said(
        entry(tmp_path, "lora", GOOD, 300),
        entry(tmp_path, "ia3", near, 20),
        entry(tmp_path, "prompt", POOR, 5),
    )
    assert told[0].startswith("Lora leads with accuracy 0.95")
    assert told[0].endswith("; ia3 is not clearly worse: it ties.")
    assert told[1:] == ["Of those that tie, ia3 trains fastest: 20 s, where lora takes 15 times as long."]


def test_nothing_is_clear_where_all_tie(tmp_path: Path) -> None:
    told = said(entry(tmp_path, "a", GOOD, 60), entry(tmp_path, "b", [*GOOD[1:], 1.0], 61))
    assert told[0] == "Nothing is clear: on these 40 test rows the two cannot be told apart on quality."
    assert told[1].startswith("Highest is a with accuracy 0.95")
    assert told[2:] == ["Those that tie take about the same time to train: 61 s."]


def test_nearly_as_good_for_far_less_is_told_of_what_is_clearly_worse(tmp_path: Path) -> None:
    told = said(entry(tmp_path, "full", [1.0] * 40, 1000), entry(tmp_path, "feature_based", FAIR, 20))
    assert told[1:] == ["Feature based reaches 82 % of the best score in 2 % of the time."]


def test_a_share_of_the_best_is_not_told_of_scores_that_fall(tmp_path: Path) -> None:
    errors = Measure("wer", "edits per word", False, tuple(0.1 + 0.001 * n for n in range(40)))
    worse = Measure("wer", "edits per word", False, tuple(0.11 + 0.001 * n for n in range(40)))
    told = said(
        entry(tmp_path, "full", [], 1000, measure=errors, rows=()),
        entry(tmp_path, "lora", [], 10, measure=worse, rows=()),
    )
    assert told[0].startswith("Full is best: wer 0.1")
    assert not any("%" in sentence for sentence in told)


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        (0.5, "Lora forgets most: general text costs +0.500"),
        (0.0, "General text does not clearly cost more bits a byte after any of the 2"),
    ],
)
def test_what_forgets_most_is_told_where_it_was_measured(tmp_path: Path, later: float, expected: str) -> None:
    after = [bits + later for bits in BITS]
    told = said(
        entry(tmp_path, "lora", GOOD, general=(BITS, after)),
        entry(tmp_path, "ia3", POOR, general=(BITS, BITS)),
    )
    (sentence,) = [sentence for sentence in told if "general text" in sentence.lower()]
    assert sentence.startswith(expected)
    assert ("it alone clearly forgets" in sentence) == (later > 0)


def test_a_best_that_is_no_better_than_before_is_told(tmp_path: Path) -> None:
    told = said(entry(tmp_path, "a", [0.0] * 40), entry(tmp_path, "b", [0.0] * 40))
    assert told[0] == "Nothing is clear: all 2 score the same on these 40 test rows, accuracy 0.00 [0.00, 0.09]."
    assert "Even a is not clearly better than what was there before training." in told


def test_before_and_after_are_of_what_is_ranked(tmp_path: Path) -> None:
    warning = "Even a is not clearly better than what was there before training."
    none, right = accuracy([0.0] * 40), accuracy([1.0] * 40)
    later = [Score("trained", "second", {"accuracy": right}), Score("trained", "main", {"accuracy": none})]
    before = [Score("before", "main", {"accuracy": none})]
    learned = artifact(tmp_path / "a", [0.0] * 40, task="first", others=[*before], later=later, rows=())
    assert warning in said(Entry("a", (learned,), tasks=("main",)))
    before = [Score("before", "main", {"accuracy": none})]
    later = [Score("trained", "main", {"accuracy": right})]
    learned = artifact(tmp_path / "b", [0.0] * 40, task="first", others=before, later=later, rows=())
    assert warning not in said(Entry("a", (learned,), tasks=("main",))), "its first task alone is no better"
    parts = artifact(
        tmp_path / "c",
        [0.0] * 20,
        task="en",
        later=[Score("trained", "de", {"accuracy": right})],
        rows=[
            {**row, "task": task} for task, items in (("en", [0.0] * 20), ("de", [1.0] * 40)) for row in rows_of(items)
        ],
    )
    assert warning not in said(Entry("a", (parts,), tasks=("main",))), "all of its rows together are ranked"


def test_too_few_rows_one_entry_failures_and_nothing_at_all_are_told(tmp_path: Path) -> None:
    few = said(entry(tmp_path, "a", [1, 1, 1, 1]), Entry("b_c", failures=("out of memory",)))
    assert few[0] == "Only a was scored (accuracy 1.00 [0.40, 1.00]), so there is nothing to compare it with."
    assert few[1].startswith("4 test rows can never show a clear change")
    assert few[-1] == "B c did not finish."
    assert said(Entry("a", failures=("x",)), Entry("b", failures=("y",))) == [
        "No way has a score, so nothing can be said of which to pick.",
        "A and b did not finish.",
    ]


def test_of_one_seed_each_it_is_told_what_the_intervals_leave_out(tmp_path: Path) -> None:
    warning = "One seed each: intervals tell what other test rows could give, not what another training seed could."
    several = [entry(tmp_path, "a", GOOD), entry(tmp_path, "b", POOR)]
    alone = [Entry(each.name, each.runs[:1]) for each in several]
    assert said(*alone)[1] == warning
    assert warning in said(alone[0])
    assert warning not in said(*several)
    assert warning not in said(several[0], alone[1]), "how seeds scatter is known of one, and counted for all"


def test_words_for_numbers() -> None:
    assert listed(["a_b", "c", "d"]) == "a b, c and d"
    assert (ratio(1.44), ratio(1234.0)) == ("1.4 times", "1,234 times")
    assert (percent(0.944), percent(0.003)) == ("94 %", "0.3 %")
