"""Ways that the comparison's own recipe cannot say: of several tasks, of other columns, of rows parted by language."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenfold.compare.campaign import Campaign
from tenfold.compare.grid import load_grid
from tenfold.compare.report.slices import by_slice
from tenfold.compare.report.subjects import subjects_of
from tenfold.compare.verdict import standings_of
from tenfold.errors import DataError, RecipeError
from tenfold.files import write_json
from tests.compare.test_campaign import carried_out

WORDS = ("lamp", "door", "fan")


@pytest.fixture
def grid_file(settings: dict[str, Any], tmp_path: Path) -> Path:
    """A grid of four ways to learn one column of rows; two of them have recipes of their own."""
    rows = [
        {"text": f"{WORDS[n % 3]} number {n}", "label": WORDS[n % 3], "language": ("en", "de")[n % 2], "size": n % 2}
        for n in range(120)
    ]
    for row in rows:
        row["size"] = ("small", "large")[int(row["size"])]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": str(tmp_path / "rows.jsonl"), "validation_share": 0.2, "test_share": 0.2}
    common = {**settings, "tuner": "full", "evaluation": {"max_rows": 12, "max_new_tokens": 4, "retention": False}}
    size = {**data, "columns": {"label": "size"}}
    files = {
        "recipe": {**common, "technique": "task_specific", "data": data},
        "both": {**common, "technique": "multi_task", "data": {"tasks": {"main": data, "size": size}}},
        "written": {**common, "data": {**data, "columns": {"prompt": "text", "completion": "label"}}},
        "grid": {
            "recipe": "recipe.json",
            "techniques": ["task_specific", "multi_task", "cross_lingual"],
            "options": {"cross_lingual": {"language_column": "language", "source": ["en"]}},
            "recipes": {"multi_task": "both.json", "written as text": "written.json"},
            "slice_by": "language",
            "rates": [1, 3],
            "seeds": 2,
            "per_run": 6,
            "binds": "updates",
        },
    }
    for name, tree in files.items():
        write_json(tmp_path / f"{name}.json", tree)
    return tmp_path / "grid.json"


def test_ways_of_other_tasks_and_columns_are_ranked_on_the_same_rows(grid_file: Path, tmp_path: Path) -> None:
    comparison, _ = carried_out(Campaign(*load_grid(grid_file), tmp_path / "comparison"))
    assert not comparison.refused
    assert [entry.name for entry in comparison.entries] == [
        "task_specific",
        "cross_lingual",
        "multi_task",
        "written as text",
    ]
    asked = {
        tuple((row["prompt"], row["reference"]) for row in found.rows)
        for entry in comparison.entries
        for found in entry.judged()
    }
    assert len(asked) == 1 and len(next(iter(asked))) == 12
    assert [{found.tasks for found in entry.judged()} for entry in comparison.entries] == [
        {("main",)},
        {("en", "de")},
        {("main",)},
        {("main",)},
    ]
    assert all(entry.search for entry in comparison.entries)
    standings = standings_of(comparison)
    assert len(standings) == 4
    table = by_slice(comparison, subjects_of(comparison, standings))
    assert table is not None and table.corner == "language"
    assert sorted(name.partition(" ")[0] for name, _ in table.rows) == ["de", "en"]
    assert all(cell.value is not None for _, cells in table.rows for cell in cells)
    assert "multi task and written as text have recipes of their own, on the same test rows." in comparison.rules


def test_rows_of_a_task_that_one_way_alone_has_are_drawn_once_too(grid_file: Path, tmp_path: Path) -> None:
    campaign = Campaign(*load_grid(grid_file), tmp_path / "comparison")
    jobs = [job for job in campaign.final_jobs({}) if job.entrant == "multi_task"]
    for job in jobs:
        main, size = job.recipe.data.tasks.values()
        assert main.train == str(campaign.sides["main"].train)
        assert size.train == str(tmp_path / "comparison" / "rows_multi_task" / "size" / "train.jsonl")
    asked = {row["size"] for row in map(json.loads, Path(str(size.test)).read_text().splitlines())}
    assert asked == {"small", "large"}


def test_a_recipe_of_its_own_is_left_out_with_its_technique(grid_file: Path, tmp_path: Path) -> None:
    grid, base = load_grid(grid_file)
    campaign = Campaign(grid.model_copy(update={"techniques": ("task_specific",)}), base, tmp_path / "comparison")
    assert list(campaign.entrants) == ["task_specific", "written as text"]


def test_a_way_that_is_scored_by_another_metric_is_refused(grid_file: Path, tmp_path: Path) -> None:
    tree = json.loads((tmp_path / "written.json").read_text())
    write_json(tmp_path / "written.json", {**tree, "evaluation": {**tree["evaluation"], "metrics": ["chrf"]}})
    plan = Campaign(*load_grid(grid_file), tmp_path / "comparison").plan
    assert plan.refused == {"written as text": "it is scored by chrf, not by accuracy as task_specific"}


def test_a_column_to_slice_by_that_is_not_there_is_told_at_once(grid_file: Path, tmp_path: Path) -> None:
    grid, base = load_grid(grid_file)
    with pytest.raises(DataError, match="no column 'lang'"):
        _ = Campaign(grid.model_copy(update={"slice_by": "lang"}), base, tmp_path / "comparison").plan


def test_further_tasks_may_not_train_on_rows_that_all_are_judged_by(grid_file: Path, tmp_path: Path) -> None:
    tree = json.loads((tmp_path / "both.json").read_text())
    tree["data"]["tasks"]["size"]["test_share"] = 0.5
    tree["data"]["tasks"]["size"]["group_by"] = "label"
    write_json(tmp_path / "both.json", tree)
    with pytest.raises(RecipeError, match=r"recipes.multi_task: \d+ training rows of its task 'size' are test or"):
        _ = Campaign(*load_grid(grid_file), tmp_path / "comparison").sides


def test_a_recipe_of_its_own_is_what_its_name_says_and_has_the_task(grid_file: Path, tmp_path: Path) -> None:
    grid = json.loads(grid_file.read_text())
    write_json(grid_file, {**grid, "recipes": {"multi_task": "written.json"}})
    with pytest.raises(RecipeError, match=r"recipes.multi_task: .*written.json is a recipe of instruction"):
        _ = Campaign(*load_grid(grid_file), tmp_path / "comparison").entrants
    tree = json.loads((tmp_path / "both.json").read_text())
    tasks = {"other": tree["data"]["tasks"]["main"], "size": tree["data"]["tasks"]["size"]}
    write_json(tmp_path / "both.json", {**tree, "data": {"tasks": tasks}})
    write_json(grid_file, {**grid, "recipes": {"multi_task": "both.json"}})
    with pytest.raises(RecipeError, match=r"has no task 'main', by which all are judged"):
        _ = Campaign(*load_grid(grid_file), tmp_path / "comparison").entrants


def test_another_recipe_of_its_own_makes_another_comparison(grid_file: Path, tmp_path: Path) -> None:
    campaign = Campaign(*load_grid(grid_file), tmp_path / "comparison")
    known = campaign.plan
    tree = json.loads((tmp_path / "both.json").read_text())
    write_json(tmp_path / "both.json", {**tree, "optim": {**tree["optim"], "batch_size": 4}})
    assert Campaign(*load_grid(grid_file), tmp_path / "comparison").plan != known, "it was planned anew"
