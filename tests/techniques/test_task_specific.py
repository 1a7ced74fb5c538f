"""task_specific: its baselines, stages, settled temperature and threshold, claims, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenfold.answering import evaluate_rows, predict_rows
from tenfold.errors import ModelError, RecipeError, SignalError, UserError
from tenfold.recipe import parse_recipe
from tenfold.running import run
from tenfold.techniques.technique import find_technique
from tenfold.testing import check_technique
from tests.command import Desk
from tests.test_label_tasks import rows_of, write

Settings = dict[str, Any]


@pytest.fixture
def labelled(settings: Settings, tmp_path: Path, encoder_folder: Path) -> Settings:
    """A recipe of the technique over rows of classes, with validation rows, on an encoder."""
    write(tmp_path, "classification")
    return {
        **settings,
        "model": {"name": str(encoder_folder)},
        "technique": {"kind": "task_specific", "shots": 1},
        "tuner": {"kind": "full"},
        "data": {"train": str(tmp_path / "rows.jsonl"), "test_share": 0.25, "validation_share": 0.25},
        "optim": {"batch_size": 8, "max_updates": 12, "epochs": 10, "learning_rate": 3e-3, "head_learning_rate": 1e-2},
        "evaluation": {"max_rows": 20, "every": 6, "retention": False},
    }


def claims(artifact: Any) -> dict[str, tuple[str, str]]:
    return {claim["claim"]: (claim["outcome"], claim["because"]) for claim in artifact.claims}


@pytest.mark.parametrize("family", ["encoder", "decoder"])
def test_classes_are_compared_with_what_costs_nothing_on_the_same_rows(
    labelled: Settings, model_folder: Path, family: str
) -> None:
    if family == "decoder":
        labelled["model"] = {"name": str(model_folder)}
    artifact = run(parse_recipe(labelled))
    card = artifact.scorecard
    assert card.stages == ("before", "zero_shot", "few_shot", "words_alone", "task", "calibrated")
    assert {score.primary.num_items for score in card.scores} == {card.scores[0].primary.num_items}
    # a linear model over words cannot fail where one word is the label
    words = card.score("words_alone", "main")
    assert words is not None and words.measures["accuracy"].value > 0.9
    judged = claims(artifact)
    assert all(
        "accuracy " in judged[f"better than {name}"][1]
        for name in ("the base model asked as it is", "a linear model over words")
    )
    assert "technique.domain" in judged["better than without going on with the domain's text first"][1]


def test_the_temperature_is_kept_and_used_by_every_command(labelled: Settings, tmp_path: Path) -> None:
    artifact = run(parse_recipe(labelled))
    temperature = artifact.facts["tasks"]["main"]["temperature"]
    assert temperature != 1.0 and artifact.facts["reported"]["temperature"] == round(temperature, 4)
    plain, scaled = (artifact.scorecard.score(stage, "main") for stage in ("task", "calibrated"))
    assert plain is not None and scaled is not None
    assert plain.measures["accuracy"] == scaled.measures["accuracy"], "a temperature changes no answer"
    assert plain.measures["negative_log_likelihood"] != scaled.measures["negative_log_likelihood"]
    (line,) = predict_rows(artifact.folder, prompts=["lamp 1 red"], data=None, out=None, max_new_tokens=None, base=None)
    chances = json.loads(line)["probabilities"].values()
    assert sum(chances) == pytest.approx(1.0)
    tested = [json.loads(row)["prompt"] for row in (artifact.folder / "generations.jsonl").read_text().splitlines()]
    kept = [row for row in rows_of("classification") if row["text"] in tested]
    again = evaluate_rows(artifact.folder, data=write(tmp_path, "", "kept.jsonl", kept), max_rows=None, base=None)
    assert again.measures["negative_log_likelihood"].value == pytest.approx(
        scaled.measures["negative_log_likelihood"].value, rel=1e-4
    )


def test_a_threshold_for_sets_of_labels_is_chosen_kept_and_shown(
    labelled: Settings, tmp_path: Path, desk: Desk
) -> None:
    write(tmp_path, "multi_label")
    desk.tree = {**labelled, "output": "out"}
    done = desk.tenfold("run", desk.recipe())
    assert done.code == 0 and "best F1 at" in done.out and "threshold" in done.out
    facts = json.loads((desk.folder / "out" / "artifact.json").read_text(encoding="utf-8"))
    threshold = facts["tasks"]["main"]["threshold"]
    assert threshold == facts["reported"]["threshold"] and 0 < threshold < 1
    answer = json.loads(desk.tenfold("predict", "out", "--prompt", "lamp 1 red").out)
    assert answer["label"] == [name for name, p in answer["probabilities"].items() if p >= threshold]


@pytest.mark.parametrize(("format", "rows"), [("regression", True), ("tags", True), ("span", False)])
def test_other_labels_have_the_baselines_that_fit_them(
    labelled: Settings, tmp_path: Path, format: str, rows: bool
) -> None:
    write(tmp_path, format)
    artifact = run(parse_recipe(labelled))
    assert artifact.scorecard.stages == (("before", "words_alone", "task") if rows else ("before", "task"))
    assert "no classes to choose among" in claims(artifact)["better than the base model asked as it is"][1]


def test_without_validation_rows_nothing_is_settled_and_it_is_said(labelled: Settings) -> None:
    labelled["evaluation"] = {"max_rows": 20, "retention": False}
    artifact = run(parse_recipe(labelled))
    assert artifact.scorecard.stages[-1] == "task"
    assert "no validation rows" in artifact.facts["reported"]["calibration"]
    assert artifact.facts["tasks"]["main"]["temperature"] == 1.0


def test_words_are_taught_too_and_row_0_is_the_model_asked_as_it_is(settings: Settings) -> None:
    settings["technique"] = {"kind": "task_specific"}
    artifact = run(parse_recipe(settings))
    assert artifact.scorecard.stages == ("before", "task")
    assert claims(artifact)["better than the base model asked as it is"][1].startswith("exact match ")


@pytest.fixture
def domain(tmp_path: Path) -> str:
    rows = [{"text": f"the lamp {number} stands in the hall"} for number in range(20)]
    return write(tmp_path, "", "domain.jsonl", rows)


def test_the_domains_text_comes_first_and_can_be_compared_without(
    labelled: Settings, model_folder: Path, domain: str
) -> None:
    labelled |= {"model": {"name": str(model_folder)}, "tuner": {"kind": "lora", "rank": 4}}
    labelled["technique"] |= {"domain": domain, "domain_updates": 3, "compare_domain": True, "baselines": False}
    artifact = run(parse_recipe(labelled))
    assert artifact.scorecard.stages == ("before", "task@alone", "domain", "task", "calibrated")
    judged = claims(artifact)["better than without going on with the domain's text first"][1]
    assert judged.startswith("accuracy ")
    assert "off, or rows" in claims(artifact)["better than a linear model over words"][1]
    lines = [json.loads(line) for line in (artifact.folder / "log.jsonl").read_text().splitlines()]
    updates = {
        stage: [line for line in lines if line["event"] == "update" and line["stage"] == stage]
        for stage in ("domain", "task")
    }
    assert len(updates["domain"]) == 3
    assert updates["domain"][0]["loss"] > 3.0, "language modelling over 400 tokens, not four classes"
    with Path(domain).open("a", encoding="utf-8") as file:
        file.write("\n" + json.dumps({"text": "one row more"}))
    with pytest.raises(UserError, match=r"domain text \(domain.jsonl\)"):
        run(parse_recipe(labelled))


def test_an_encoder_cannot_go_on_with_raw_text(labelled: Settings, domain: str) -> None:
    labelled["technique"] |= {"domain": domain}
    with pytest.raises(ModelError, match="without the layer that told its masked words"):
        run(parse_recipe(labelled))


def test_text_that_gives_test_rows_away_is_refused(labelled: Settings, model_folder: Path, tmp_path: Path) -> None:
    leaked = write(tmp_path, "", "leak.jsonl", [{"text": row["text"]} for row in rows_of("classification")])
    labelled |= {"model": {"name": str(model_folder)}, "tuner": {"kind": "lora", "rank": 4}}
    labelled["technique"] |= {"domain": leaked}
    with pytest.raises(SignalError, match="overlap"):
        run(parse_recipe(labelled))


@pytest.mark.parametrize(
    ("technique", "told"),
    [
        ({"domain": "nowhere.jsonl"}, "nowhere.jsonl: no such file"),
        ({"compare_domain": True}, "there is no domain to go on with"),
        ({"shots": 0}, "technique.shots"),
        ({"domian": "x"}, "did you mean 'domain'"),
    ],
)
def test_options_that_do_not_fit(labelled: Settings, technique: Settings, told: str) -> None:
    recipe = parse_recipe({**labelled, "technique": {"kind": "task_specific", **technique}})
    with pytest.raises(RecipeError, match=told):
        find_technique("task_specific").require_fit(recipe)


def test_several_tasks_belong_to_another_technique(tree: Settings) -> None:
    recipe = parse_recipe({**tree, "technique": {"kind": "task_specific"}})
    with pytest.raises(RecipeError, match="multi_task"):
        find_technique("task_specific").require_fit(recipe)


def test_with_labels_it_keeps_the_promises_of_every_technique(labelled: Settings, tmp_path: Path) -> None:
    labelled["optim"]["max_updates"] = 4
    check_technique(parse_recipe(labelled), tmp_path / "runs")


def test_check_tells_what_is_compared(labelled: Settings, desk: Desk) -> None:
    desk.tree = {**labelled, "output": "out"}
    done = desk.tenfold("check", desk.recipe())
    assert done.code == 0
    assert "compared without training: zero shot, few shot, words alone" in " ".join(done.out.split())
