"""Runs of several tasks, and of stages that each bring a tuner of their own."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tenfold.answering import evaluate_rows, predict_rows
from tenfold.engine.stage import Stage, StageResult
from tenfold.errors import RecipeError, UserError
from tenfold.recipe import Recipe, dump_recipe, parse_recipe
from tenfold.recipe.tuners import Full, Lora, Prompt, TunerSettings
from tenfold.running import run
from tenfold.techniques.context import Run
from tenfold.techniques.technique import Options, Technique
from tenfold.tuning.tuner import make_tuner
from tests.command import Desk

Settings = dict[str, Any]


@pytest.fixture
def shouts_file(tmp_path: Path) -> Path:
    """48 prompts of another task: say the number's last digit as a word."""
    words = ("zero", "one", "two", "three")
    path = tmp_path / "shouts.jsonl"
    rows = [{"prompt": f"say {number}", "completion": words[number % 4]} for number in range(48)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def two_tasks(settings: Settings, rows_file: Path, shouts_file: Path) -> Recipe:
    data = {"test_share": 0.2, "tasks": {"lamps": str(rows_file), "words": {"train": str(shouts_file)}}}
    return parse_recipe({**settings, "data": data})


def test_a_task_takes_what_it_leaves_unset_from_the_settings_above() -> None:
    data = {"max_length": 99, "tasks": {"one": "a.jsonl", "two": {"train": "b.jsonl", "max_length": 7}}}
    recipe = parse_recipe({"data": data, "evaluation": {"metrics": ["chrf"]}})
    assert {name: task.max_length for name, task in recipe.tasks.items()} == {"one": 99, "two": 7}
    assert all(task.metrics == ("chrf",) for task in recipe.tasks.values())


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"train": "a", "tasks": {"one": "b"}}, "train beside tasks"),
        ({"tasks": {"one": {"train": "b", "lenght": 3}}}, "data.tasks.one.lenght: unknown key"),
        ({"tasks": {"a b": "c"}}, "data.tasks.a b"),
        ({"tasks": {"one": 3}}, "data.tasks.one"),
        ({"tasks": {"one": {"train": "b", "validation": "c"}}}, "data.tasks.one.validation"),
        ({"tasks": {"retention": "a", "one": "b"}}, "data.tasks.retention.*what the scorecard calls its own row"),
    ],
)
def test_what_tasks_cannot_be_is_told_with_its_place(data: Settings, told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        parse_recipe({"data": data})


def test_a_resolved_recipe_of_several_tasks_reads_back_equal(two_tasks: Recipe) -> None:
    import yaml

    assert parse_recipe(yaml.safe_load(dump_recipe(two_tasks))) == two_tasks


def test_every_task_is_scored_at_every_stage_and_can_be_asked_for_by_name(two_tasks: Recipe, shouts_file: Path) -> None:
    artifact = run(two_tasks)
    assert artifact.scorecard.tasks == ("lamps", "words")
    assert all(artifact.scorecard.score(stage, "words") for stage in ("before", "instruction"))
    score = evaluate_rows(artifact.folder, data=str(shouts_file), max_rows=4, base=None, task="words")
    assert score.primary.name == artifact.recipe.tasks["words"].metrics[0]
    with pytest.raises(RecipeError, match=r"no task 'wrods'(.|\n)*did you mean 'words'"):
        evaluate_rows(artifact.folder, data=str(shouts_file), max_rows=4, base=None, task="wrods")


def test_evaluate_says_which_of_several_tasks_it_took_and_which_one_the_rows_are_of(desk: Desk) -> None:
    labels = [json.dumps({"text": f"lamp {number}", "label": ("red", "blue")[number % 2]}) for number in range(48)]
    desk.write("labels.jsonl", "\n".join(labels))
    tasks = {"train": None, "tasks": {"asked": "rows.jsonl", "colours": "labels.jsonl"}}
    recipe = desk.recipe(data=tasks, optim={"max_updates": 1}, technique={"kind": "multi_task"})
    assert desk.tenfold("run", recipe).code == 0
    refused = desk.tenfold("evaluate", "out", "--data", "labels.jsonl")
    assert refused.code == 2 and "rows of format classification" in refused.err
    assert "do: name it: --task colours" in refused.err
    other = desk.tenfold("evaluate", "out", "--data", "rows.jsonl", "--task", "colours")
    assert other.code == 2 and "do: name it: --task asked" in other.err
    taken = desk.tenfold("evaluate", "out", "--data", "rows.jsonl", "--max-rows", "2")
    assert "taken for the first task, 'asked'" in taken.out and "rows.jsonl, task asked" in taken.out
    named = desk.tenfold("evaluate", "out", "--data", "labels.jsonl", "--task", "colours")
    assert named.code == 0 and "labels.jsonl, task colours" in named.out and "taken for" not in named.out


def test_faulty_rows_of_all_tasks_are_told_together(two_tasks: Recipe, tmp_path: Path) -> None:
    tasks = {}
    for name in ("one", "two"):
        path = tmp_path / f"{name}.jsonl"
        path.write_text('{"prompt": "a", "completion": ""}\n' * 3)
        tasks[name] = {"train": str(path), "test_share": 0}
    with pytest.raises(UserError, match=r"one.jsonl, line 1(.|\n)*two.jsonl, line 1"):
        run(parse_recipe({**two_tasks.model_dump(), "data": {"tasks": tasks}}))


def test_check_shows_each_task(desk: Desk, rows_file: Path, shouts_file: Path) -> None:
    tasks = {"train": None, "tasks": {"lamps": "rows.jsonl", "words": "shouts.jsonl"}}
    done = desk.tenfold("check", desk.recipe(data=tasks), "--no-trial")
    assert done.code == 0, done.text
    assert "lamps, train" in done.out and "words, test" in done.out
    assert "of words as the trainer sees them" in done.out


def in_two_stages(first: TunerSettings, second: TunerSettings) -> Technique:
    def stages(run: Run, options: Options) -> Generator[Stage, StageResult, None]:
        yield replace(run.stage("one"), tuner=make_tuner(first))
        yield replace(run.stage("two"), tuner=make_tuner(second))

    return Technique(kind="two_stages", summary="two tuners in turn", when="in tests", stages=stages)


@pytest.mark.parametrize(
    ("first", "second"),
    [(Lora(rank=4), Lora(rank=2)), (Full(), Lora(rank=4)), (Lora(rank=4), Full())],
    ids=["lora_lora", "full_lora", "lora_full"],
)
def test_a_stage_with_another_tuner_goes_on_from_what_was_trained(
    first: TunerSettings, second: TunerSettings, settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    technique = in_two_stages(first, second)
    monkeypatch.setattr("tenfold.techniques.opened.find_technique", lambda kind: technique)
    recipe = parse_recipe({**settings, "tuner": first.model_dump(), "optim": {"max_updates": 4, "learning_rate": 3e-3}})
    artifact = run(recipe)
    assert artifact.facts["weights"] == "model"
    prompts = [line["prompt"] for line in artifact.generations]
    answers = [
        json.loads(line)["response"]
        for line in predict_rows(artifact.folder, prompts=prompts, data=None, out=None, max_new_tokens=6, base=None)
    ]
    assert answers == [line["after"] for line in artifact.generations]

    plain = AutoModelForCausalLM.from_pretrained(artifact.folder / "model", dtype=torch.float32)
    ids = torch.tensor([[5, 9, 70, 33, 12]])
    with torch.no_grad():
        # fp32 on both sides, attention computed by another kernel: a few units in the last place
        torch.testing.assert_close(plain(ids).logits, artifact.load().network(ids).logits, rtol=1e-4, atol=1e-4)

    again = run(recipe.model_copy(update={"output": str(tmp_path / "again")}))
    assert [stage["from_store"] for stage in json.loads((again.folder / "provenance.json").read_text())["stages"]] == [
        True,
        True,
    ]
    assert again.generations == artifact.generations


def test_what_cannot_be_merged_cannot_be_followed_by_another_tuner(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    technique = in_two_stages(Prompt(num_virtual_tokens=2), Lora(rank=2))
    monkeypatch.setattr("tenfold.techniques.opened.find_technique", lambda kind: technique)
    with pytest.raises(UserError, match="merge"):
        run(parse_recipe({**settings, "tuner": {"kind": "prompt", "num_virtual_tokens": 2}}))
