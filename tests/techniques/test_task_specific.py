"""task_specific: its baselines, stages, settled temperature and threshold, claims, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tenfold.answering import evaluate_rows, predict_rows
from tenfold.artifact import Artifact
from tenfold.data.masking import MaskedRenderer
from tenfold.data.prepare import prepare
from tenfold.data.sources import open_rows
from tenfold.engine.checkpoint import hash_tensors
from tenfold.engine.log import Log
from tenfold.engine.runtime import open_runtime
from tenfold.errors import DataError, RecipeError, SignalError, UserError
from tenfold.recipe import parse_recipe
from tenfold.running import run
from tenfold.techniques.context import Run
from tenfold.techniques.task_specific import plan
from tenfold.techniques.technique import find_technique
from tenfold.techniques.world import open_world
from tenfold.testing import check_technique
from tests.command import Desk
from tests.test_label_tasks import rows_of, write
from tests.tiny_models import tiny_masked_lm
from tests.tiny_tokenizers import framed_tokenizer

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


def test_a_temperature_at_the_end_of_its_range_is_told(labelled: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenfold.tasks.settling.best_temperature", lambda logits, wanted: 49.998)
    reported = run(parse_recipe(labelled)).facts["reported"]
    assert reported["temperature"] == 49.998
    assert "at the end of its range: too few validation rows" in reported["note on the temperature"]


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


@pytest.fixture
def masked_folder(tmp_path: Path) -> str:
    """A tiny BERT in a folder that also holds its masked-LM head."""
    tokenizer, folder = framed_tokenizer(), tmp_path / "masked-bert"
    tiny_masked_lm(vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


TUNERS: dict[str, Settings] = {
    "full": {"kind": "full"},
    "lora": {"kind": "lora", "rank": 4},
    "bottleneck": {"kind": "bottleneck", "reduction": 4},
}


@pytest.mark.parametrize("tuner", TUNERS)
@pytest.mark.parametrize("has_head", [True, False])
def test_an_encoder_goes_on_with_the_domains_text_and_keeps_no_head_of_it(
    labelled: Settings, domain: str, masked_folder: str, tuner: str, has_head: bool
) -> None:
    labelled["tuner"] = TUNERS[tuner]
    if has_head:
        labelled["model"] = {"name": masked_folder}
    labelled["technique"] |= {
        "domain": domain,
        "domain_epochs": 2,
        "domain_updates": 4,
        "compare_domain": True,
        "baselines": False,
    }
    artifact = run(parse_recipe(labelled))
    assert artifact.scorecard.stages == ("before", "task@alone", "domain", "task", "calibrated")
    told = "the layer that the checkpoint holds" if has_head else "a new one is made"
    assert told in artifact.facts["reported"]["domain"]
    lines = [json.loads(line) for line in (artifact.folder / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["event"] == "update" and line["stage"] == "domain"]
    assert len(losses) == 4 and losses[0] > 3.0, "one token of 400, not one class of four"
    assert set(load_file(artifact.weights / "heads.safetensors")) == {
        "for_main.linear.weight",
        "for_main.linear.bias",
    }
    names = {name for file in artifact.weights.glob("*.safetensors") for name in load_file(file)}
    assert not any("predictions" in name or name == "norm.bias" for name in names)


@pytest.mark.parametrize("tuner", TUNERS)
def test_the_domains_stage_tells_the_domains_held_out_words_better(
    labelled: Settings, tmp_path: Path, masked_folder: str, tuner: str
) -> None:
    text = [f"the lamp {number} stands in the hall of house {number % 9}" for number in range(60)]
    rows, held_out = text[:48], text[48:]
    domain = write(tmp_path, "", "domain.jsonl", [{"text": each} for each in rows])
    labelled |= {"tuner": TUNERS[tuner], "model": {"name": masked_folder}}
    labelled["technique"] |= {"domain": domain, "domain_epochs": 20, "domain_updates": 100}
    recipe = parse_recipe(labelled)
    made = Run(open_world(recipe), folder=tmp_path / "out", runtime=open_runtime(recipe.runtime), log=Log(None))
    options = find_technique("task_specific").require_fit(recipe)
    stage = next(stage for stage in plan(made, options).stages if stage.name == "domain")
    assert (stage.learned is not None) == (tuner == "full"), "a layer that came with the encoder trains where all does"
    renderer = MaskedRenderer(made.world.tokenizer, recipe.data)
    path = write(tmp_path, "", "held-out.jsonl", [{"text": each} for each in held_out])
    kept = prepare(open_rows(path, format="text"), renderer)
    batch = renderer.collate(kept.entries(range(len(kept))))

    def loss() -> float:
        with torch.no_grad():
            return float(stage.objective(made.model, batch).total) / batch.num_supervised

    before, head = loss(), hash_tensors(stage.objective.head.state_dict())  # type: ignore[attr-defined]
    made.train(stage)
    assert loss() < before - 1.0, "nats a hidden token"
    same = hash_tensors(stage.objective.head.state_dict()) == head  # type: ignore[attr-defined]
    assert same == (tuner != "full")


def test_stopped_in_the_domains_stage_it_ends_with_the_same_bits(
    labelled: Settings, domain: str, tmp_path: Path
) -> None:
    labelled["technique"] |= {
        "domain": domain,
        "domain_epochs": 2,
        "domain_updates": 5,
        "compare_domain": True,
        "baselines": False,
    }
    labelled["tuner"] = {"kind": "lora", "rank": 4, "dropout": 0.2}
    labelled["optim"]["max_updates"] = 3
    labelled["evaluation"] = {"max_rows": 20, "retention": False}
    folder = tmp_path / "runs"
    check_technique(parse_recipe(labelled), folder)
    curves = []
    for name in ("straight", "stopped"):
        lines = [json.loads(line) for line in (folder / name / "log.jsonl").read_text().splitlines()]
        updates = [line for line in lines if line["event"] == "update"]
        curves.append({(line["stage"], line["update"]): (line["loss"], line["gradient_norm"]) for line in updates})
    assert curves[0] == curves[1] and ("domain", 5) in curves[0]


def test_a_frozen_encoder_has_no_use_for_a_domain(labelled: Settings, domain: str) -> None:
    recipe = parse_recipe(
        {**labelled, "tuner": {"kind": "frozen"}, "technique": {"kind": "task_specific", "domain": domain}}
    )
    with pytest.raises(RecipeError, match="frozen leaves it as it is"):
        find_technique("task_specific").require_fit(recipe)


def test_check_tells_where_the_layer_for_masked_words_comes_from(labelled: Settings, domain: str, desk: Desk) -> None:
    labelled["technique"] |= {"domain": domain}
    desk.tree = {**labelled, "output": "out"}
    done = desk.tenfold("check", desk.recipe())
    assert done.code == 0 and "a new one is made, tied to the embeddings" in " ".join(done.out.split())


def test_raw_text_may_be_all_that_an_encoder_learns(labelled: Settings, tmp_path: Path, desk: Desk) -> None:
    text = [f"the lamp {number} stands in the hall of house {number % 9}" for number in range(80)]
    train, test = (
        write(tmp_path, "", f"{name}.jsonl", [{"text": each} for each in part])
        for name, part in (("train", text[:64]), ("test", text[64:]))
    )
    labelled["data"] = {"train": train, "test": test, "validation_share": 0.2}
    labelled["optim"] |= {"max_updates": 30, "learning_rate": 3e-3}
    desk.tree = {**labelled, "output": "out"}
    done = desk.tenfold("run", desk.recipe())
    assert done.code == 0, done.text
    artifact = Artifact.open(desk.folder / "out")
    before, after = (artifact.scorecard.score(stage, "main") for stage in ("before", "task"))
    assert before is not None and after is not None and after.primary.name == "masked_loss"
    assert after.primary.value < before.primary.value - 1.0
    assert before.measures["masked_accuracy"].weights == after.measures["masked_accuracy"].weights, "the same tokens"
    again = evaluate_rows(artifact.folder, data=test, max_rows=None, base=None)
    assert again.primary.value == pytest.approx(after.primary.value, rel=1e-4), "its head was kept"
    lines = [json.loads(line) for line in (artifact.folder / "log.jsonl").read_text().splitlines()]
    chosen = [line for line in lines if line["event"] == "evaluation"]
    assert {line["metric"] for line in chosen} == {"masked_loss"}
    assert chosen[-1]["best"] == min(line["value"] for line in chosen), "the lower, the better"
    for question in (("--prompt", "the lamp"), ("--data", test)):
        asked = desk.tenfold("predict", "out", *question)
        assert asked.code == 2 and "answers nothing" in asked.text
    labelled["evaluation"] |= {"metrics": ["accuracy"]}
    with pytest.raises(DataError, match="accuracy cannot be measured where words are masked"):
        open_world(parse_recipe(labelled))


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
