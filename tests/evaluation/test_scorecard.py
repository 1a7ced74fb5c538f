from __future__ import annotations

import json

import numpy as np
import pytest
from rich.console import Console

from tenfold.errors import ArtifactError
from tenfold.evaluation.scorecard import Measure, Score, Scorecard
from tenfold.evaluation.scorecard_view import interval_text, markdown_table, terminal_table
from tenfold.evaluation.statistics import Interval


def measure(name: str, items: list[float], *, higher: bool = True, weights: list[float] | None = None) -> Measure:
    return Measure(name, "share", higher, tuple(items), None if weights is None else tuple(weights))


def card() -> Scorecard:
    generator = np.random.default_rng(0)
    losses, num_bytes = generator.random(30).tolist(), generator.integers(1, 99, 30).astype(float).tolist()
    result = Scorecard()
    for stage, right, shift in (("before", 2, 0.0), ("instruction", 25, 0.1)):
        exact = measure("json_match", [1.0] * right + [0.0] * (30 - right))
        loss = measure("response_loss", [loss - 3 * shift for loss in losses], higher=False, weights=num_bytes)
        answers = tuple(f"answer {i}" for i in range(30))
        cut = (True,) * 5 + (False,) * 25
        result = result.add(Score(stage, "household", {"json_match": exact, "response_loss": loss}, answers, cut))
        general = measure(
            "general_bits_per_byte", [1 + loss + shift for loss in losses], higher=False, weights=num_bytes
        )
        result = result.add(Score(stage, "retention", {"general_bits_per_byte": general}))
    return result


def text(table: object, width: int = 80) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    console.file.close()
    return console.export_text()


def test_a_value_is_the_weighted_mean_and_its_interval_is_always_the_same() -> None:
    assert measure("x", [1.0, 2.0, 6.0]).value == 3.0
    weighted = measure("x", [1.0, 4.0], weights=[3.0, 1.0])
    assert weighted.value == 7 / 4
    assert weighted.interval == weighted.interval
    assert weighted.interval.mean == weighted.value


def test_adding_gives_a_new_scorecard_and_keeps_the_order() -> None:
    first = Scorecard()
    second = first.add(Score("before", "household", {"m": measure("m", [1.0])}))
    assert first.scores == ()
    assert card().stages == ("before", "instruction")
    assert card().tasks == ("household", "retention")
    with pytest.raises(AssertionError, match="already"):
        second.add(Score("before", "household", {}))


def test_json_gives_back_the_same_scorecard_to_the_last_bit() -> None:
    assert Scorecard.from_json(json.loads(json.dumps(card().to_json()))) == card()
    score = card().scores[0]
    assert Score.from_json(json.loads(json.dumps(score.to_json()))) == score
    assert Scorecard.from_json(json.loads(json.dumps(Scorecard().to_json()))) == Scorecard()


@pytest.mark.parametrize("tree", [{}, {"format": 1, "scores": [{}]}, {"format": 1, "scores": None}, {"format": 99}])
def test_a_damaged_scorecard_is_refused_with_its_place(tree: dict[str, object]) -> None:
    with pytest.raises(ArtifactError, match=r"runs/a/scorecard\.json.*\n.*allowed: a scorecard of format 1\n.*do: "):
        Scorecard.from_json(tree, where="runs/a/scorecard.json")


def test_changes_know_which_way_is_better() -> None:
    changes = card().differences()
    assert changes["household", "json_match"].is_better
    assert changes["household", "json_match"].test.difference.mean == pytest.approx(23 / 30)
    loss = changes["household", "response_loss"]
    assert loss.test.verdict == "fell"
    assert loss.is_better
    assert loss.test.difference.mean == pytest.approx(-0.3)
    general = changes["retention", "general_bits_per_byte"]
    assert general.is_worse
    assert not general.is_better
    assert list(changes) == [
        ("household", "json_match"),
        ("household", "response_loss"),
        ("retention", "general_bits_per_byte"),
    ]


def test_the_task_change_is_of_the_tasks_own_metric() -> None:
    change = card().task_change()
    assert change is not None
    assert (change.task, change.metric) == ("household", "json_match")
    assert Scorecard().task_change() is None
    assert Scorecard(tuple(score for score in card().scores if score.task == "retention")).task_change() is None
    assert card().scores[0].primary.name == "json_match"


def test_a_change_needs_both_stages() -> None:
    assert card().change("household", "json_match", after="elsewhere") is None
    assert card().change("household", "rouge_l") is None
    assert card().change("household", "json_match", before="instruction", after="before").test.verdict == "fell"  # type: ignore[union-attr]


def test_the_terminal_table_fits_80_columns_and_says_what_changed() -> None:
    shown = text(terminal_table(card()))
    assert max(len(line) for line in shown.splitlines()) <= 80
    lines = {line.split("  ")[1].strip(): line for line in shown.splitlines() if line.startswith("  ")}
    assert "0.07 [0.00, 0.17]" in lines["json match"]
    assert "0.83 [0.70, 0.97]" in lines["json match"]
    assert "rose (better)" in lines["json match"]
    assert "fell (better)" in shown
    assert "rose (worse)" in shown
    assert "household" in shown
    assert "instruction" not in shown, "with one later stage its name says nothing"


def test_the_widest_built_in_line_is_not_broken() -> None:
    generator = np.random.default_rng(0)
    result = Scorecard()
    for stage in ("before", "instruction"):
        items = [1.2 + 0.01 * value for value in generator.random(30)]
        row = {"response_bits_per_byte": measure("response_bits_per_byte", items, higher=False)}
        result = result.add(Score(stage, "t", row))
    [_, _, line] = text(terminal_table(result)).rstrip("\n").splitlines()
    assert line.startswith("  response bits/byte ↓ 1.20")
    assert line.rstrip().endswith("no clear change")
    assert len(line) <= 80


def test_an_arrow_never_stands_alone_on_a_line() -> None:
    generator, result = np.random.default_rng(0), Scorecard()
    for stage in ("before", "instruction"):
        items = [1.2 + 0.01 * value for value in generator.random(30)]
        name = "negative_log_likelihood"
        result = result.add(Score(stage, "t", {name: measure(name, items, higher=False)}))
    lines = [line.rstrip() for line in text(terminal_table(result)).rstrip("\n").splitlines()]
    assert [line.split(" 1.2")[0].rstrip() for line in lines[2:]] == ["  negative log", "  likelihood ↓"]
    assert all(len(line) <= 80 for line in lines)


def test_a_table_without_a_later_stage_shows_row_0() -> None:
    only = Scorecard(tuple(score for score in card().scores if score.stage == "before"))
    assert "0.07 [0.00, 0.17]" in text(terminal_table(only))
    assert markdown_table(only).splitlines()[2] == "| household | json match | 0.07 [0.00, 0.17] | - | - |"


def test_every_later_stage_has_its_block() -> None:
    more = card().add(Score("second", "household", {"json_match": measure("json_match", [1.0] * 30)}))
    lines = markdown_table(more).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| household, instruction",
        "| household, instruction",
        "| household, second",
        "| retention, instruction",
    ]
    assert all(line.count("|") == 6 for line in lines)


def test_names_of_tasks_cannot_break_the_tables() -> None:
    odd = Scorecard((Score("before", "a [red]|b", {"m": measure("m", [1.0])}),))
    assert "a [red]|b" in text(terminal_table(odd))
    assert markdown_table(odd).splitlines()[-1].count("|") == 6


def test_intervals_are_shown_with_the_decimals_they_need() -> None:
    assert interval_text(Interval(0.83, 0.76, 0.9)) == "0.83 [0.76, 0.90]"
    assert interval_text(Interval(1.2344, 1.2222, 1.2444)) == "1.234 [1.222, 1.244]"
    assert interval_text(Interval(0.0, 0.0, 0.0)) == "0.00 [0.00, 0.00]"


def test_items_that_weigh_otherwise_at_the_two_stages_cannot_be_paired() -> None:
    found = Scorecard()
    for stage, weights in (("before", [3.0, 4.0]), ("teacher", [5.0, 2.0])):
        loss = measure("response_loss", [1.0, 2.0], higher=False, weights=weights)
        found = found.add(Score(stage, "household", {"response_loss": loss}))
    assert found.change("household", "response_loss") is None
    assert "response loss" in text(terminal_table(found))
