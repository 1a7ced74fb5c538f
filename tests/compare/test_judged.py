"""By what runs are ranked: one task, one that was taken apart, or several that count alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tenfold.artifact import Artifact
from tenfold.compare.comparison import Comparison, Entry
from tenfold.compare.gather import comparison_of
from tenfold.compare.judged import judged
from tenfold.compare.report.slices import by_class, confusions
from tenfold.compare.report.subjects import subjects_of
from tenfold.compare.report.told import answers, missing
from tenfold.compare.verdict import standings_of
from tenfold.errors import UserError
from tenfold.evaluation.scorecard import Measure, Score, Scorecard
from tenfold.files import write_json
from tests.compare.artifacts import accuracy, artifact, rows_of

ITEMS = (1, 0, 1, 1, 0, 1)


def by_language(folder: Path, items: tuple[int, ...] = ITEMS, *, second: Measure | None = None) -> Artifact:
    """A run that took the rows apart: those with even numbers are English, the others German."""
    rows = rows_of(items)
    german = second or accuracy(items[1::2])
    parts = [{**row, "task": "en"} for row in rows[::2]] + [{**row, "task": "de"} for row in rows[1::2]]
    later = [Score("trained", "de", {german.name: german})]
    return artifact(
        folder, task="en", measure=accuracy(items[::2]), rows=parts, later=later, sections={"tuner": "full"}
    )


def test_a_run_that_took_its_task_apart_is_judged_by_all_of_its_rows(tmp_path: Path) -> None:
    whole = judged(artifact(tmp_path / "whole", items=ITEMS), ["main"])
    apart = judged(by_language(tmp_path / "apart"), ["main"])
    assert whole is not None and apart is not None
    assert apart.tasks == ("en", "de") and whole.tasks == ("main",)
    assert apart.measure == whole.measure, "the same answers to the same rows, in the same order"
    assert apart.is_of_the_rows_of(whole)


def test_runs_of_rows_in_another_order_are_paired_row_by_row(tmp_path: Path) -> None:
    first = artifact(tmp_path / "first", items=ITEMS)
    turned = artifact(tmp_path / "turned", items=ITEMS[::-1], rows=rows_of(ITEMS)[::-1], sections={"tuner": "full"})
    one, other = judged(first, ["main"]), judged(turned, ["main"])
    assert one is not None and other is not None and one.measure == other.measure


def test_a_report_has_both_side_by_side_with_their_classes_and_answers(tmp_path: Path) -> None:
    for order in ((0, 1), (1, 0)):
        folder = tmp_path / str(order)
        runs = [artifact(folder / "whole", items=ITEMS), by_language(folder / "apart", (1, 1, 1, 1, 0, 1))]
        comparison = comparison_of([runs[place] for place in order])
        subjects = subjects_of(comparison, standings_of(comparison))
        assert [each.standing.score.mean for each in subjects] == pytest.approx([5 / 6, 4 / 6])
        classes = by_class(subjects)
        assert list(classes) == [""], "parts of one task are counted together"
        assert [name for name, _ in classes[""].rows] == ["on (3 rows)", "off (3 rows)"]
        asked = answers(subjects)
        assert len(asked) == 6 and [len(each.answers) for each in asked] == [2] * 6


def test_parts_that_were_scored_otherwise_are_no_one_task(tmp_path: Path) -> None:
    f1 = Measure("f1", "share", True, (1.0, 0.0, 1.0))
    run = by_language(tmp_path / "apart", second=f1)
    assert judged(run, ["main"]) is None
    with pytest.raises(UserError, match="scored on the task 'en', 'de', not 'main'"):
        comparison_of([artifact(tmp_path / "whole", items=ITEMS), run])


def two_tasks(folder: Path, first: tuple[int, ...], second: Measure) -> Artifact:
    rows = [*rows_of(first), *({**row, "task": "other"} for row in rows_of(range(second.num_items)))]
    return artifact(
        folder,
        items=first,
        rows=rows,
        later=[Score("trained", "other", {second.name: second})],
        sections={"optim": {"epochs": 1 + sum(first)}},
    )


def test_several_tasks_count_alike_however_many_rows_each_has(tmp_path: Path) -> None:
    words = Measure("json_match", "share", True, (0.5, 0.5))
    found = judged(two_tasks(tmp_path / "run", (1, 1, 1, 0), words), ["main", "other"])
    assert found is not None and found.tasks == ("main", "other")
    above_chance = (0.75 - 0.5) / (1 - 0.5)  # two labels: guessing has a half
    assert found.measure.value == pytest.approx((above_chance + 0.5) / 2)
    assert found.measure.title == "mean of 2 tasks"
    assert judged(two_tasks(tmp_path / "one", (1, 1, 1, 0), words), ["main"]).measure.value == 0.75  # type: ignore[union-attr]


def test_a_label_that_was_written_is_no_better_by_chance_than_one_that_was_chosen(tmp_path: Path) -> None:
    words = Measure("json_match", "share", True, (0.5, 0.5))
    written = Measure("exact_match", "share", True, (1.0, 1.0, 1.0, 0.0))
    chosen, own = two_tasks(tmp_path / "chosen", (1, 1, 1, 0), words), tmp_path / "written"
    rows = [*rows_of((1, 1, 1, 0)), *({**row, "task": "other"} for row in rows_of(range(2)))]
    other = artifact(own, measure=written, rows=rows, later=[Score("trained", "other", {"json_match": words})])
    one, two = judged(chosen, ["main", "other"]), judged(other, ["main", "other"])
    assert one is not None and two is not None and one.measure.items == two.measure.items


def test_who_is_best_on_all_tasks_leads_though_another_leads_on_the_first(tmp_path: Path) -> None:
    strong = Measure("json_match", "share", True, (1.0,) * 40)
    weak = Measure("json_match", "share", True, (0.0,) * 40)
    first = two_tasks(tmp_path / "first", (1,) * 40, weak)
    both = two_tasks(tmp_path / "both", (1,) * 36 + (0,) * 4, strong)
    comparison = comparison_of([first, both])
    standings = standings_of(comparison)
    assert standings[0].name.endswith("epochs 37.0") and not standings[1].is_tied


def test_where_a_mean_of_tasks_means_nothing_the_first_one_counts(tmp_path: Path) -> None:
    loss = Measure("response_loss", "nats", False, (0.5, 0.5))
    found = judged(two_tasks(tmp_path / "run", (1, 1, 1, 0), loss), ["main", "other"])
    assert found is not None and found.tasks == ("main",) and found.measure.value == 0.75


def test_a_label_that_was_written_counts_as_one_that_was_chosen(tmp_path: Path) -> None:
    written = artifact(tmp_path / "written", measure=Measure("exact_match", "share", True, (1.0, 1.0, 1.0, 1.0)))
    chosen = artifact(tmp_path / "chosen", items=(1, 0, 1, 0), sections={"tuner": "full"})
    comparison = comparison_of([written, chosen])
    standings = standings_of(comparison)
    assert [each.score.mean for each in standings] == [1.0, 0.5]
    alone = standings_of(Comparison("", (Entry("written", (written,)),)))
    assert alone[0].score.mean == 1.0


@pytest.mark.parametrize("shared", [False, True])
def test_classes_of_several_ranked_tasks_have_a_table_each_but_where_a_head_is_shared(
    tmp_path: Path, shared: bool
) -> None:
    tasks: dict[str, Any] = {name: {"train": "rows.jsonl", "labels": ["on", "off"]} for name in ("main", "other")}
    if shared:
        tasks["other"]["head"] = "main"
    rows = [*rows_of(ITEMS), *({**row, "task": "other"} for row in rows_of(ITEMS))]
    second = [Score("trained", "other", {"accuracy": accuracy(ITEMS)})]
    run = artifact(tmp_path / "run", ITEMS, rows=rows, later=second, sections={"data": {"tasks": tasks}})
    comparison = comparison_of([run])
    subjects = subjects_of(comparison, standings_of(comparison))
    tables = by_class(subjects)
    counts = {name: [row for row, _ in table.rows] for name, table in tables.items()}
    if shared:
        assert counts == {"main and other": ["on (6 rows)", "off (6 rows)"]}
    else:
        assert counts == {name: ["on (3 rows)", "off (3 rows)"] for name in ("main", "other")}
    assert [task for _, task, _ in confusions(subjects)] == list(tables)


@pytest.mark.parametrize(
    ("tasks", "scores", "rows", "reason"),
    [
        (("main",), [], None, "it has no test rows, so it has no score"),
        (("main", "more"), ["en"], None, "it was scored on en, and the others on main and more"),
        (
            ("main",),
            ["en", "f1 of de"],
            None,
            "en and de were scored by accuracy and f1, which make no one score for main",
        ),
        (("main",), ["en", "de"], (), "it kept no answers of en and de, so it has no score of all rows of main"),
        (("main",), ["en", "de"], None, "what it scored of en and de cannot be put together row by row, so it has no"),
    ],
)
def test_why_a_run_has_no_score_is_told_as_it_is(
    tmp_path: Path, tasks: tuple[str, ...], scores: list[str], rows: tuple[dict[str, str], ...] | None, reason: str
) -> None:
    run = artifact(tmp_path / "run", ITEMS, task="en", rows=rows)
    measured = [
        (name.rpartition(" ")[2], replace(accuracy(ITEMS), name="f1" if "f1" in name else "accuracy"))
        for name in scores
    ]
    card = Scorecard(tuple(Score("trained", task, {measure.name: measure}) for task, measure in measured))
    write_json(run.folder / "scorecard.json", card.to_json())
    (told,) = missing(Comparison("", (Entry("way", (Artifact.open(run.folder),), tasks=tasks),)))
    assert (told.name, told.status) == ("way", "not scored")
    assert told.reason.startswith(reason)
