"""Multi-task tuning on a tiny model: the mixture that trains, learned weights, comparison with a model a task."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tenfold.engine.log import Log
from tenfold.engine.runtime import open_runtime
from tenfold.errors import RecipeError, SignalError, UserError
from tenfold.evaluation.cost import Cost
from tenfold.evaluation.lineage import Ancestor, Lineage
from tenfold.evaluation.scorecard import BEFORE, Measure, Score, Scorecard
from tenfold.recipe import Recipe, parse_recipe
from tenfold.running import run
from tenfold.techniques.context import Run
from tenfold.techniques.multi_task import TECHNIQUE, MultiTaskOptions, plan
from tenfold.techniques.multi_task_claims import no_task_loses, no_worse_on_average, one_model_for_all
from tenfold.techniques.technique import Evidence
from tenfold.techniques.world import open_world
from tests.techniques.conftest import Write

KIND = {"kind": "multi_task"}


def opened(recipe: Recipe) -> Run:
    return Run(open_world(recipe), folder=Path(recipe.output), runtime=open_runtime(recipe.runtime), log=Log(None))


def test_both_tasks_are_learned_and_scored_by_one_model(write: Write) -> None:
    artifact = run(write(KIND, optim={"max_updates": 24, "learning_rate": 1e-2}))
    assert artifact.scorecard.stages == (BEFORE, "multi_task")
    for task in ("lamps", "words"):
        change = artifact.scorecard.change(task, "response_loss")
        assert change is not None and change.is_better, task
    assert artifact.facts["weights"] == "adapter"
    assert artifact.lineage.taught() == ("lamps", "words")
    reported = artifact.facts["reported"]
    assert reported["weight of a task's loss"] == {"lamps": 1.0, "words": 1.0}
    # 52 and 25 rows are left to train on: square roots 7.21 and 5
    assert reported["share of the rows"]["lamps"] == pytest.approx(0.59, abs=0.02)


def test_the_rows_that_train_are_in_the_shares_that_are_told(write: Write) -> None:
    recipe = write({**KIND, "temperature": 1}, optim={"max_updates": None, "epochs": 1})
    made = opened(recipe)
    (stage,) = plan(made, MultiTaskOptions(temperature=1)).stages
    rows = [batch for update in range(stage.total_updates) for batch in stage.windows.window(update).batches]
    counts = {name: sum(len(batch.rows) for batch in rows if batch.task == name) for name in ("lamps", "words")}
    assert counts == {task.name: len(task.train) for task in made.tasks}, "temperature 1: each row once"


def test_each_task_counts_by_the_units_of_its_average_row(write: Write) -> None:
    made = opened(write(KIND))
    (stage,) = plan(made, MultiTaskOptions(weights={"words": 3.0})).stages
    losses = vars(stage.objective)["tasks"]
    for task in made.tasks:
        expected = task.train.column("num_supervised").mean()
        assert losses[task.name].units_per_row == pytest.approx(expected)
    assert [losses[name].weight for name in ("lamps", "words")] == [1.0, 3.0]


def test_uncertainty_weights_are_learned_and_told(write: Write) -> None:
    artifact = run(write({**KIND, "weighting": "uncertainty", "uncertainty_learning_rate": 0.05}))
    weights = artifact.facts["reported"]["weight of a task's loss"]
    # untrained losses are well above 1/2, so both variances grow
    assert all(0.7 < weight < 0.95 for weight in weights.values())
    again = run(
        write({**KIND, "weighting": "uncertainty", "uncertainty_learning_rate": 0.05}, runtime={"checkpoint_every": 3})
    )
    assert again.facts["reported"]["weight of a task's loss"] == weights
    stages = json.loads((again.folder / "provenance.json").read_text())["stages"]
    assert stages[0]["from_store"], "what was learned comes from the store too"


def test_models_of_one_task_start_from_the_base_and_share_the_budget(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run(write(KIND, optim={"max_updates": 8}))
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "another"))  # else the stage would come from the store
    compared = run(write({**KIND, "compare_alone": True}, optim={"max_updates": 8}))
    assert compared.scorecard.stages == (BEFORE, "lamps@alone", "words@alone", "multi_task")
    stages = {stage.name: stage for stage in compared.lineage.stages}
    assert {stage.starts_from for stage in stages.values()} == {BEFORE}
    assert compared.lineage.saved == ("multi_task",)
    assert stages["multi_task"].weights_sha256 == plain.lineage.stages[0].weights_sha256
    assert compared.generations == plain.generations
    assert compared.facts["updates"] == 8
    assert compared.cost.comparison_seconds > 0 == plain.cost.comparison_seconds
    updates = {
        each["name"]: each["updates"]
        for each in json.loads((compared.folder / "provenance.json").read_text())["stages"]
    }
    assert updates["lamps@alone"] + updates["words@alone"] == 8
    outcomes = {claim["claim"]: claim for claim in compared.claims}
    average = outcomes["on average over tasks no worse than a model for each of them"]
    assert average["outcome"] in ("held", "not held here", "unclear") and "[" in average["because"]
    unasked = {claim["claim"]: claim["because"] for claim in plain.claims}
    assert "compare_alone" in unasked["no task is clearly worse than with a model of its own"]


def scored(values: dict[str, dict[str, float]]) -> Scorecard:
    """Return a scorecard of 20 items a task, with a little noise, so that clear differences are clear."""
    card = Scorecard()
    for stage, row in values.items():
        for task, value in row.items():
            items = tuple(value + 0.01 * (number % 3) for number in range(20))
            card = card.add(Score(stage, task, {"exact_match": Measure("exact_match", "share", True, items)}))
    return card


def evidence(multi: dict[str, float]) -> Evidence:
    tasks = ("a", "b")
    card = scored(
        {
            BEFORE: {"a": 0.1, "b": 0.1},
            "a@alone": {"a": 0.5, "b": 0.1},
            "b@alone": {"a": 0.1, "b": 0.5},
            "multi_task": multi,
        }
    )
    stages = [Ancestor(f"{task}@alone", (task,), BEFORE, "lora", "", "") for task in tasks]
    lineage = Lineage((*stages, Ancestor("multi_task", tasks, BEFORE, "lora", "", "")), ("multi_task",))
    return Evidence(card, Cost(1, 1, 1, 1, 1, 1, 1, 2_000_000, 1), lineage)


@pytest.mark.parametrize(
    ("multi", "average", "losing", "base"),
    [
        ({"a": 0.6, "b": 0.6}, "held", "held", "held"),
        ({"a": 0.7, "b": 0.3}, "held", "not held here", "held"),
        ({"a": 0.3, "b": 0.05}, "not held here", "not held here", "not held here"),
    ],
)
def test_claims_follow_from_the_scores(multi: dict[str, float], average: str, losing: str, base: str) -> None:
    found = evidence(multi)
    assert no_worse_on_average(source="").judge(found).outcome == average
    verdict = no_task_loses(source="").judge(found)
    assert verdict.outcome == losing
    assert verdict.because.count("negative transfer") == sum(value < 0.5 for value in multi.values())
    assert one_model_for_all(source="").judge(found).outcome == base


def test_few_rows_prove_no_absence_of_a_loss() -> None:
    """Five rows that all got worse: no test can call that clear, and no claim may call it fine."""
    scores = [
        Score(stage, "a", {"accuracy": Measure("accuracy", "", True, items)})
        for stage, items in ((BEFORE, (0.0,) * 5), ("a@alone", (1.0,) * 5), ("multi_task", (0.0,) * 5))
    ]
    known = evidence({"a": 0.6, "b": 0.6})
    found = replace(known, scorecard=Scorecard(tuple(scores)))
    assert no_task_loses(source="").judge(found).outcome == "unclear"


@pytest.mark.parametrize(
    ("technique", "data", "told"),
    [
        ({}, {"tasks": None, "train": "sample:household"}, r"data.tasks: multi_task learns several tasks"),
        ({"weights": {"lamp": 2.0}}, {}, r"(?s)technique.weights.lamp: no task 'lamp'.*did you mean 'lamps'"),
        (
            {"weights": {"lamps": 2.0}, "weighting": "uncertainty"},
            {},
            r"technique.weights: with weighting: uncertainty",
        ),
        ({"weights": {"lamps": -1}}, {}, r"technique.weights.lamps: found -1"),
        ({"temprature": 3}, {}, r"(?s)technique.temprature.*did you mean 'temperature'"),
        ({"weighting": "certain"}, {}, r"(?s)technique.weighting: found 'certain'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_opened(
    technique: dict[str, Any], data: dict[str, Any], told: str, write: Write
) -> None:
    recipe = write(
        {**KIND, **technique},
    )
    if data:
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"tasks": {}})})
    with pytest.raises(RecipeError, match=told):
        TECHNIQUE.require_fit(recipe)


@pytest.mark.parametrize("tuner", [{"kind": "lora", "rank": 2}, {"kind": "full"}, {"kind": "prompt"}], ids=str)
def test_any_tuner_goes_with_it(tuner: dict[str, Any], write: Write) -> None:
    artifact = run(write(KIND, tuner=tuner, optim={"max_updates": 3, "learning_rate": 1e-3}))
    assert artifact.scorecard.score("multi_task", "words")


def test_test_rows_of_one_task_that_another_trains_on_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    rows = [json.dumps({"prompt": f"lamp {n}?", "completion": f"on {n}"}) + "\n" for n in range(40)]
    other = [json.dumps({"prompt": f"door {n}?", "completion": f"off {n}"}) + "\n" for n in range(40)]
    for name, lines in (("all", rows), ("few", rows[:10]), ("other", other), ("same", other[:10])):
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))

    def tree(second: str) -> dict[str, Any]:
        tasks = {
            "a": {"train": str(tmp_path / "all.jsonl"), "test_share": 0.2},
            "b": {"train": str(tmp_path / "other.jsonl"), "test": str(tmp_path / f"{second}.jsonl")},
        }
        data = {"tasks": tasks, "validation_share": 0.0}
        return {**settings, "technique": {"kind": "multi_task"}, "data": data, "gate": {"allow": []}}

    with pytest.raises(SignalError, match=r"(?s)overlap \(b, test rows\).*of 10 rows are also training rows of task a"):
        open_world(parse_recipe(tree("few")))
    with pytest.raises(UserError, match=r"test rows\): 10 of 10 rows have a prompt that also occurs in training"):
        open_world(parse_recipe(tree("same")))
    allowed = open_world(parse_recipe({**tree("few"), "gate": {"allow": ["overlap"]}})).allowed
    assert any("of task a" in finding.problem.found for finding in allowed)
