"""What a person sees of runs with several stages: `check` before, `show` and the model card after."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.command import Desk

TASKS = {"train": None, "tasks": {"lamps": "rows.jsonl", "words": "words.jsonl"}}
SEQUENTIAL: dict[str, Any] = {
    "kind": "sequential",
    "stages": [{"task": "lamps", "updates": 3}, {"task": "words", "updates": 3}],
    "replay": 0.2,
    "compare_cures": True,
    "compare_straight": True,
}


@pytest.fixture
def shop(desk: Desk, rows_file: Path, words_file: Path) -> Desk:
    return desk


def test_check_tells_the_stages_and_what_comparisons_cost(shop: Desk) -> None:
    done = shop.tenfold("check", shop.recipe(data=TASKS, technique=SEQUENTIAL))
    assert done.code == 0, done.text
    lines = [line.split() for line in done.out.splitlines()]
    assert ["words@straight", "words", "before", "lora", "3"] in lines
    assert ["words@none", "words", "lamps", "lora", "3"] in lines
    assert ["words", "words", "lamps", "lora", "3"] in lines
    assert "comparisons train 2 stages more, 6 updates and 2 scorings" in done.out
    assert "No problems found" in done.out


def test_check_tells_what_is_met_of_each_task_and_what_models_of_one_task_cost(shop: Desk) -> None:
    technique = {"kind": "multi_task", "compare_alone": True}
    done = shop.tenfold("check", shop.recipe(data=TASKS, technique=technique), "--no-trial")
    assert done.code == 0, done.text
    lines = [line.split() for line in done.out.splitlines()]
    sizes = {line[0]: int(line[2]) for line in lines if line[1:2] == ["train"]}
    lamps, words = (size**0.5 for size in (sizes["lamps,"], sizes["words,"]))
    expected = f"of the rows met: lamps {lamps / (lamps + words):.0%}, words {words / (lamps + words):.0%}"
    assert expected in done.out
    assert "compare_alone trains 2 more models, 6 updates and 2 scorings more" in done.out


def test_check_says_what_matters_first_and_the_lines_fit(shop: Desk) -> None:
    shop.write("few.jsonl", "".join(f'{{"prompt": "lamp {n}", "completion": "set {n}"}}\n' for n in range(2)))
    tasks = {"lamps": "rows.jsonl", "a_task_of_a_long_name": {"train": "words.jsonl", "test": "few.jsonl"}}
    recipe = shop.recipe(data={"train": None, "tasks": tasks}, technique={"kind": "multi_task"})
    told = "\n".join(line.rstrip() for line in shop.tenfold("check", recipe).out.splitlines())
    note = "a_task_of_a_long_name (2 test rows) can never show a clear change; 6 can\n"
    assert told.startswith(note + "(data.test_share, data.tasks.NAME.test)\n")
    first = "\n".join(told.splitlines()[:24])
    assert all(part in first for part in ("lamps,", "of the rows met", "parameters (", "peak memory"))
    assert all(len(line) <= 80 and "…" not in line for line in told.splitlines())
    assert "Training rows of a_task_of_a_long_name as the trainer sees them ─" in told
    assert "No problems found; 1 noted at the top." in told


def test_the_first_stage_goes_on_from_the_model_as_it_came(shop: Desk) -> None:
    recipe = shop.recipe(data=TASKS, technique={"kind": "adapters"}, tuner={"kind": "bottleneck", "reduction": 4})
    lines = [line.split() for line in shop.tenfold("check", recipe, "--no-trial").out.splitlines()]
    assert [line[2] for line in lines if line[:2] == ["lamps", "lamps"]] == ["before"]
    assert [line[2:5] for line in lines if line[:2] == ["words", "words"]] == [["the", "one", "before"]]


def test_rows_of_another_task_are_refused_with_the_tasks_there_are(shop: Desk) -> None:
    for name in ("a", "b"):
        rows = [{"text": f"{name} {number}", "label": f"{name}{number % 2}"} for number in range(30)]
        shop.write(f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": None, "tasks": {"a": "a.jsonl", "b": "b.jsonl"}}
    ran = shop.tenfold("run", shop.recipe(data=data, technique={"kind": "multi_task"}))
    assert "tenfold evaluate out --data your_rows.jsonl --task b" in ran.out, ran.text
    wrong = shop.tenfold("evaluate", "out", "--data", "b.jsonl")
    assert (wrong.code, "--task: not given: the rows were taken for the first task, 'a'" in wrong.err) == (2, True)
    assert shop.tenfold("evaluate", "out", "--data", "b.jsonl", "--task", "b").code == 0


def test_show_and_the_card_have_stages_by_tasks_with_transfer(shop: Desk) -> None:
    ran = shop.tenfold("run", shop.recipe(data=TASKS, technique=SEQUENTIAL))
    assert ran.code == 0, ran.text
    for text in (shop.tenfold("show", "out").out, (shop.folder / "out" / "README.md").read_text()):
        assert "Stages and tasks" in text
        for name in ("words@none", "backward transfer", "forward transfer", "forgetting"):
            assert name in text, name
    assert "comparisons" in shop.tenfold("show", "out").out


def test_show_tells_what_the_technique_found(shop: Desk) -> None:
    technique = {"kind": "multi_task", "weighting": "uncertainty"}
    ran = shop.tenfold("run", shop.recipe(data=TASKS, technique=technique))
    assert ran.code == 0, ran.text
    assert "share of the rows" in ran.out and "weight of a task's loss" in ran.out
    assert "weight of a task's loss" in (shop.folder / "out" / "README.md").read_text()


def test_a_damaged_lineage_is_told_without_a_traceback(shop: Desk) -> None:
    assert shop.tenfold("run", shop.recipe(data=TASKS, technique=SEQUENTIAL)).code == 0
    (shop.folder / "out" / "lineage.json").write_text('{"stages": 3}')
    done = shop.tenfold("show", "out")
    assert done.code == 2 and "lineage.json: not the file that was saved" in done.text
