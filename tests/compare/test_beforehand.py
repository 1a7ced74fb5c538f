"""What a teacher took, and what it has seen: part of the bill of whom it teaches."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tenfold.artifact import Artifact
from tenfold.compare.beforehand import beforehand
from tenfold.compare.bill import bill_of
from tenfold.compare.campaign import Campaign
from tenfold.compare.comparison import Comparison, Entry
from tenfold.compare.grid import Grid
from tenfold.compare.report import write_report
from tenfold.compare.verdict import standings_of, verdict
from tenfold.recipe import parse_recipe
from tenfold.running import run
from tenfold.terminal.compare_view import show_outcome
from tests.compare.artifacts import artifact
from tests.compare.test_report import page

GOOD = [1.0] * 38 + [0.0] * 2
NEAR = [*GOOD[1:], 1.0]


def taught_by(teacher: object) -> dict[str, Any]:
    return {"technique": {"kind": "distillation", "teacher": str(teacher)}}


@pytest.fixture
def teacher(tmp_path: Path) -> Artifact:
    return artifact(tmp_path / "teacher", seconds=1200)


def test_a_bill_counts_the_teachers_training_and_that_of_its_own_teacher(tmp_path: Path, teacher: Artifact) -> None:
    second = artifact(tmp_path / "second", seconds=100, sections=taught_by(teacher.folder))
    student = artifact(tmp_path / "student", seconds=20, sections=taught_by(second.folder))
    assert bill_of(Entry("x", (teacher,))).before_seconds == 0
    bill = bill_of(Entry("x", (student,)))
    assert (bill.train_seconds, bill.before_seconds, bill.seconds) == (20, 1300, 1320)


def test_a_published_teacher_is_no_cost_and_of_a_lost_one_it_is_not_known(
    tmp_path: Path, teacher: Artifact, model_folder: Path
) -> None:
    for name in (model_folder, "smollm2-135m-instruct"):
        assert beforehand(parse_recipe({"data": {"train": "rows.jsonl"}, **taught_by(name)})) is None
    student = artifact(tmp_path / "student", sections=taught_by(teacher.folder))
    (teacher.folder / "cost.json").unlink()
    assert bill_of(Entry("x", (student,))).seconds is None, "damaged"
    teacher.folder.rename(tmp_path / "elsewhere")
    bill = bill_of(Entry("x", (student,)))
    assert bill.before_seconds is None and bill.seconds is None
    away = artifact(tmp_path / "away", sections=taught_by("runs/large"))
    assert bill_of(Entry("x", (away,))).before_seconds is None


def test_who_is_cheapest_is_told_with_the_teachers_time(tmp_path: Path, teacher: Artifact) -> None:
    student = Entry("distillation", (artifact(tmp_path / "s", GOOD, seconds=600, sections=taught_by(teacher.folder)),))
    comparison = Comparison("", (student, Entry("lora", (artifact(tmp_path / "l", NEAR, seconds=450),))))
    told = verdict(comparison, standings_of(comparison))
    assert "Distillation needs a teacher that was trained before: 20 min, which count as its time here." in told
    assert told[-1] == "Of those that tie, lora trains fastest: 8 min, where distillation takes 4.0 times as long."
    teacher.folder.rename(tmp_path / "elsewhere")
    told = verdict(comparison, standings_of(comparison))
    lost = "What the teacher of distillation took is not known, so nothing is said of the time of that."
    assert told[-1] == lost


def test_report_terminal_and_record_show_which_part_was_the_teachers(tmp_path: Path, teacher: Artifact) -> None:
    student = Entry("distillation", (artifact(tmp_path / "s", GOOD, seconds=600, sections=taught_by(teacher.folder)),))
    comparison = Comparison("", (student, Entry("lora", (artifact(tmp_path / "l", NEAR, seconds=450),))))
    text = page(tmp_path, comparison).text
    assert "of 30 min its teacher took 20 min, before" in text
    assert "teacher, before" in text
    console = Console(file=StringIO(), width=200)
    show_outcome(console, comparison, tmp_path)
    assert isinstance(console.file, StringIO) and "20 min" in console.file.getvalue()
    costs = {each["name"]: each["cost"] for each in json.loads((tmp_path / "comparison.json").read_text())["entries"]}
    assert (costs["distillation"]["before_seconds"], costs["lora"]["before_seconds"]) == (1200, 0)
    teacher.folder.rename(tmp_path / "elsewhere")
    write_report(comparison, tmp_path / "report.html")
    assert "what its teacher took is not known" in page(tmp_path, comparison).text


@pytest.fixture
def campaign(settings: dict[str, Any], labels_file: Path, tmp_path: Path) -> Campaign:
    data = {"train": str(labels_file), "validation_share": 0.2, "test_share": 0.2}
    tree = {**settings, "technique": "task_specific", "tuner": "full", "data": data}
    tree["evaluation"] = {"max_rows": 12, "retention": False}
    options = {"distillation": {"teacher": str(tmp_path / "teacher")}}
    grid = Grid(recipe="x", techniques=("distillation", "feature_based"), options=options, per_run=6, binds="updates")
    return Campaign(grid, parse_recipe(tree), tmp_path / "comparison")


def trained_teacher(campaign: Campaign, folder: Path, **data: object) -> None:
    base = campaign.base
    section = base.data.model_copy(update=data)
    optim = base.optim.model_copy(update={"max_updates": 2, "learning_rate": 0.01})
    run(base.model_copy(update={"data": section, "optim": optim, "output": str(folder)}))


def test_the_terms_tell_of_a_teacher_and_of_validation_rows_that_it_knows(campaign: Campaign, tmp_path: Path) -> None:
    trained_teacher(campaign, tmp_path / "teacher")  # without `every` no validation rows were held out
    assert "distillation" not in campaign.plan.refused
    needs, knows = campaign.rules()[-2:]
    assert needs.startswith("distillation needs a teacher that was trained before: ")
    assert knows.startswith("The teacher of distillation has trained on 12 of 12 validation rows")
    (tmp_path / "teacher" / "training_rows.npz").unlink()
    again = replace(campaign).rules()
    assert again[-1] == "Whether the teacher of distillation has trained on rows of the comparison is not known."
    (tmp_path / "teacher").rename(tmp_path / "elsewhere")
    gone = replace(campaign).rules()
    assert any("its cost is not known" in rule for rule in gone)


def test_a_teacher_that_was_trained_on_test_rows_is_refused(campaign: Campaign, tmp_path: Path) -> None:
    trained_teacher(campaign, tmp_path / "teacher", test_share=0.0)
    refused = campaign.plan.refused["distillation"]
    assert refused.startswith(f"its teacher {tmp_path / 'teacher'} has trained on 12 of 12 test rows")
    assert str(campaign.sides["main"].train) in refused


def test_a_teacher_of_the_comparisons_own_rows_is_welcome(campaign: Campaign, tmp_path: Path) -> None:
    train = str(campaign.sides["main"].train)
    trained_teacher(campaign, tmp_path / "teacher", train=train, test=str(campaign.sides["main"].test))
    assert "distillation" not in campaign.plan.refused
    assert "trained before" in campaign.rules()[-1]
