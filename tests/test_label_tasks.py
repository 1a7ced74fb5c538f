"""Runs over rows with labels, from the recipe to the prediction, on an encoder and a decoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenfold.answering import evaluate_rows, predict_rows
from tenfold.artifact import Artifact
from tenfold.errors import DataError, Interrupted, RecipeError, SignalError, UserError
from tenfold.evaluation.scorecard import BEFORE
from tenfold.recipe import Recipe, parse_recipe
from tenfold.running import run
from tenfold.techniques.world import open_world
from tests.command import Desk
from tests.conftest import COLOURS

Settings = dict[str, Any]
Row = dict[str, Any]


def rows_of(format: str) -> list[Row]:
    """Return 64 rows whose label follows from a colour in the text."""
    rows: list[Row] = []
    for number in range(64):
        colour = COLOURS[number % 4]
        text = f"lamp {number} {colour}"
        if format == "classification":
            rows.append({"text": text, "label": colour})
        elif format == "multi_label":
            rows.append({"text": text, "labels": [colour] + (["warm"] if colour in ("red", "green") else [])})
        elif format == "regression":
            rows.append({"text": text, "target": 100.0 + number % 4})
        elif format == "tags":
            rows.append({"tokens": text.split(), "tags": ["O", "O", f"B-{'warm' if number % 4 < 2 else 'cold'}"]})
        else:
            rows.append({"question": "which colour?", "context": f"lamp {number} is {colour} now", "answer": colour})
    return rows


FORMATS = ("classification", "multi_label", "regression", "tags", "span")
PRIMARY = dict(zip(FORMATS, ("accuracy", "micro_f1", "mean_absolute_error", "entity_f1", "squad_f1"), strict=True))


@pytest.fixture
def tree(settings: Settings, tmp_path: Path, encoder_folder: Path) -> Settings:
    """A recipe over rows with labels in `rows.jsonl`, on an encoder."""
    write(tmp_path, "classification")
    return {
        **settings,
        "model": {"name": str(encoder_folder)},
        "tuner": {"kind": "full"},
        "data": {"train": str(tmp_path / "rows.jsonl"), "test_share": 0.25},
        "optim": {"batch_size": 8, "max_updates": 24, "epochs": 10, "learning_rate": 3e-3, "head_learning_rate": 1e-2},
    }


def write(folder: Path, format: str, name: str = "rows.jsonl", rows: list[Row] | None = None) -> str:
    lines = (json.dumps(row) for row in (rows_of(format) if rows is None else rows))
    (folder / name).write_text("\n".join(lines), encoding="utf-8")
    return str(folder / name)


@pytest.mark.parametrize("family", ["encoder", "decoder"])
@pytest.mark.parametrize("format", FORMATS)
def test_rows_are_learned_saved_and_answered_the_same(
    tree: Settings, tmp_path: Path, model_folder: Path, format: str, family: str
) -> None:
    rows = write(tmp_path, format)
    if family == "decoder":
        tree["model"] = {"name": str(model_folder)}
    artifact = run(parse_recipe(tree))
    change = artifact.scorecard.change("main", PRIMARY[format])
    assert change is not None and artifact.scorecard.score(BEFORE, "main").primary.name == PRIMARY[format]  # type: ignore[union-attr]
    gained = change.test.difference.mean * (1 if change.higher_is_better else -1)
    assert gained > 0, "what the colour says is learned a little at least"
    again = evaluate_rows(artifact.folder, data=rows, max_rows=None, base=None)
    assert again.primary.num_items == 64
    predicted = [json.loads(line) for line in predict(artifact, rows)]
    assert len(predicted) == 64 and all("label" in row and "reference" in row for row in predicted)
    asked = {row["prompt"]: row["after"] for row in artifact.generations}
    assert asked, "rows before and after are kept"
    for row in predicted:
        text = row.get("text") or " ".join(row.get("tokens", ())) or f"{row.get('question')}\n{row.get('context')}"
        if text in asked:
            assert shown(row["label"]) == asked[text]


def predict(artifact: Artifact, data: str) -> list[str]:
    return list(predict_rows(artifact.folder, prompts=[], data=data, out=None, max_new_tokens=None, base=None))


def shown(label: Any) -> str:
    return " ".join(label) if isinstance(label, list) else label if isinstance(label, str) else f"{label:.6g}"


@pytest.mark.parametrize("tuner", ["full", "partial", "frozen", "lora", "ia3", "prompt"])
@pytest.mark.parametrize("family", ["encoder", "decoder"])
def test_every_tuner_trains_a_head_and_the_artifact_gives_the_same_probabilities(
    tree: Settings, tmp_path: Path, model_folder: Path, tuner: str, family: str
) -> None:
    if family == "decoder":
        tree["model"] = {"name": str(model_folder)}
    of_tuner = {"partial": {"modules": [r"layers?\.1\."]}}.get(tuner, {})
    tree |= {"tuner": {"kind": tuner, **of_tuner}, "evaluation": {"max_rows": 64, "retention": False}}
    tree["data"] |= {"test": write(tmp_path, "classification", "test.jsonl", [*rows_of("classification")[:9]])}
    tree["gate"] = {"allow": ["overlap"]}
    artifact = run(parse_recipe(tree))
    scored = artifact.scorecard.score("instruction", "main")
    again = evaluate_rows(artifact.folder, data=str(tmp_path / "test.jsonl"), max_rows=None, base=None)
    assert scored is not None
    # merged or reloaded fp32 weights may add in another order
    assert again.measures["negative_log_likelihood"].items == pytest.approx(
        scored.measures["negative_log_likelihood"].items, rel=1e-4
    )


def test_a_run_that_was_stopped_goes_on_as_if_it_had_never_been(tree: Settings, tmp_path: Path) -> None:
    straight = run(parse_recipe(tree))
    recipe = parse_recipe({**tree, "output": str(tmp_path / "stopped"), "log": {"project": "another"}})
    calls = []

    def stop_asked() -> bool:
        calls.append(1)
        return len(calls) == 9

    clear_stages(tmp_path)
    with pytest.raises(Interrupted):
        run(recipe, stop_asked=stop_asked)
    resumed = run(recipe)
    assert resumed.scorecard == straight.scorecard


def clear_stages(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder / "cache" / "stages")


def test_what_the_labels_are_is_kept_and_needs_no_training_rows(tree: Settings, tmp_path: Path) -> None:
    artifact = run(parse_recipe(tree))
    facts = artifact.facts["tasks"]["main"]
    assert facts["labels"]["names"] == sorted(COLOURS[:4])
    shape = {"num_outputs": 4, "pooling": "mean", "dropout": 0.0, "shared_with": None, "tells": "labels"}
    assert facts["head"] == shape
    Path(tree["data"]["train"]).unlink()
    asked = write(tmp_path, "", "asked.jsonl", [{"text": "lamp 3 blue"}])
    (line,) = predict(artifact, asked)
    answer = json.loads(line)
    assert list(answer) == ["text", "label", "probabilities"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1.0)
    assert max(answer["probabilities"], key=answer["probabilities"].get) == answer["label"]


def test_a_label_that_only_evaluation_rows_have_is_refused(tree: Settings, tmp_path: Path) -> None:
    tree["data"]["test"] = write(tmp_path, "", "test.jsonl", [{"text": "lamp x", "label": "purple"}])
    with pytest.raises(DataError, match=r"test.jsonl, line 1: label 'purple' is not one that training rows have"):
        open_world(parse_recipe(tree))


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"evaluation": {"metrics": ["entity_f1"], "retention": False}}, "entity_f1 cannot be measured"),
        ({"data": {"class_weights": {"red": 2.0}}}, "no weight for blue, green, grey"),
        (
            {"data": {"class_weights": {"redd": 2.0, "red": 1, "blue": 1, "green": 1, "grey": 1}}},
            "did you mean 'red'",
        ),
        (
            {"data": {"columns": {"prompt": "text", "completion": "label"}}},
            "answered in words, and the model is of the family encoder",
        ),
        ({"data": {"format": "tags"}}, "not the format 'tags'"),
    ],
)
def test_settings_that_do_not_fit_the_rows(tree: Settings, sections: Settings, told: str) -> None:
    merged = {key: {**tree.get(key, {}), **value} for key, value in sections.items()}
    with pytest.raises(UserError, match=told):
        open_world(parse_recipe({**tree, **merged}))


@pytest.mark.parametrize("format", FORMATS)
def test_smoothing_that_no_loss_would_read_is_refused(tree: Settings, tmp_path: Path, format: str) -> None:
    write(tmp_path, format)
    tree["optim"]["label_smoothing"] = 0.1
    if format in ("classification", "tags"):
        open_world(parse_recipe(tree))
        return
    with pytest.raises(RecipeError, match=r"optim.label_smoothing: would be read by nothing"):
        open_world(parse_recipe(tree))


def test_smoothing_may_be_meant_for_another_task(tree: Settings, tmp_path: Path) -> None:
    tree["data"] = {"test_share": 0.25, "tasks": {}}
    for format in ("classification", "regression"):
        rows = write(tmp_path, format, f"{format}.jsonl")
        tree["data"]["tasks"][format] = rows
    tree |= {"technique": {"kind": "multi_task"}, "gate": {"allow": ["overlap"]}}
    tree["optim"]["label_smoothing"] = 0.1
    open_world(parse_recipe(tree))


OF_WORDS: Settings = {"system": "Be brief.", "train_on": "last", "template": "plain", "chat_template": "{{ messages }}"}
OF_LABELS: Settings = {"labels": list(COLOURS[:4]), "class_weights": "balanced", "pooling": "first"}


@pytest.mark.parametrize(("name", "value"), [*OF_WORDS.items(), *OF_LABELS.items()])
def test_settings_that_the_rows_have_no_use_for_are_refused(
    tree: Settings, settings: Settings, tmp_path: Path, name: str, value: object
) -> None:
    tree["data"]["train"] = write(tmp_path, "classification", "labelled.jsonl")
    words = [{"prompt": f"lamp {number}", "completion": f"set {number}"} for number in range(64)]
    settings["data"]["train"] = write(tmp_path, "", "words.jsonl", words)
    unread, read = (tree, settings) if name in OF_WORDS else (settings, tree)
    unread["data"][name] = read["data"][name] = value
    with pytest.raises(DataError, match=rf"data.{name}: would be read by nothing: the rows' format is "):
        open_world(parse_recipe(unread))
    if "template" not in name:  # the gate has its own say about those
        open_world(parse_recipe(read))


def test_a_setting_that_several_tasks_share_may_be_meant_for_another_one_of_them(
    tree: Settings, tmp_path: Path, model_folder: Path
) -> None:
    labelled = write(tmp_path, "classification", "labelled.jsonl")
    words = write(tmp_path, "", "words.jsonl", [{"prompt": f"say {n}", "completion": f"said {n}"} for n in range(40)])
    tree |= {"model": {"name": str(model_folder)}, "technique": {"kind": "multi_task"}, "gate": {"allow": ["overlap"]}}
    tasks: Settings = {"words": words, "kinds": {"train": labelled}}
    tree["data"] = {"test_share": 0.25, "system": "Be brief.", "pooling": "mean", "tasks": tasks}
    open_world(parse_recipe(tree))
    tasks["kinds"]["train_on"] = "last"
    with pytest.raises(UserError, match=r"data.train_on: would be read by nothing: the rows' format is classification"):
        open_world(parse_recipe(tree))


def test_metrics_of_labels_are_refused_where_rows_are_answered_in_words(settings: Settings) -> None:
    settings["evaluation"] = {"metrics": ["accuracy"], "retention": False}
    with pytest.raises(DataError, match=r"accuracy cannot be measured where rows are answered in words"):
        open_world(parse_recipe(settings))


def test_the_metric_that_is_named_first_is_the_tasks_own(tree: Settings) -> None:
    tree["evaluation"]["metrics"] = ["macro_f1"]
    tree["optim"]["max_updates"] = 1
    score = run(parse_recipe(tree)).scorecard.score(BEFORE, "main")
    assert score is not None and list(score.measures)[:2] == ["macro_f1", "accuracy"]


def test_the_gate_looks_at_rows_with_labels_too(tree: Settings, tmp_path: Path) -> None:
    tree["data"] |= {"test": write(tmp_path, "", "test.jsonl", rows_of("classification")[:2]), "max_length": 6}
    with pytest.raises(SignalError) as refused:
        open_world(parse_recipe(tree))
    found = str(refused.value)
    assert "gate rule truncation (train rows)" in found and "2 of 2 rows have a prompt that also occurs" in found
    write(tmp_path, "tags")
    del tree["data"]["test"]
    with pytest.raises(SignalError, match="in 43 of them a tag or the answer is cut"):
        open_world(parse_recipe(tree))


def test_class_weights_change_what_is_learned(tree: Settings) -> None:
    def weights(data: Settings, output: str) -> Recipe:
        return parse_recipe({**tree, "data": {**tree["data"], **data}, "output": f"{tree['output']}-{output}"})

    plain = run(weights({}, "plain"))
    same = run(weights({"class_weights": dict.fromkeys(COLOURS[:4], 1.0)}, "same"))
    tilted = run(weights({"class_weights": {colour: 9.0 if colour == "red" else 0.1 for colour in COLOURS[:4]}}, "red"))
    losses = [
        artifact.scorecard.score("instruction", "main").measures["negative_log_likelihood"].value  # type: ignore[union-attr]
        for artifact in (plain, same, tilted)
    ]
    assert losses[0] == pytest.approx(losses[1]) and losses[2] != pytest.approx(losses[0])


def test_commands_over_rows_with_labels(desk: Desk, tree: Settings) -> None:
    desk.tree = {**tree, "output": "out"}
    recipe = desk.recipe()
    checked = desk.tenfold("check", recipe)
    assert (checked.code, "43 labels" in checked.out, "→ " in checked.out) == (0, True, True), checked.text
    done = desk.tenfold("run", recipe)
    assert done.code == 0 and "accuracy" in done.out and "predict out --data your_rows.jsonl" in done.out
    answered = desk.tenfold("predict", "out", "--prompt", "lamp 9 red")
    assert json.loads(answered.out)["text"] == "lamp 9 red"
    assert "macro f1" in desk.tenfold("evaluate", "out", "--data", "rows.jsonl").out
    assert "use `tenfold predict`" in desk.tenfold("chat", "out").err
    assert "→ " in (desk.folder / "out" / "preview.txt").read_text(encoding="utf-8")
    write(desk.folder, "regression", "measured.jsonl")
    measured = desk.tenfold("evaluate", "out", "--data", "measured.jsonl").err
    assert "columns text, target, rows of format regression" in measured
    assert "label=target" not in measured, "a number is no label"
    desk.write("odd.jsonl", '{"words": "x"}\n')
    assert "allowed: classification (text)" in desk.tenfold("predict", "out", "--data", "odd.jsonl").err


def test_rows_of_other_columns_than_the_runs_are_refused_with_what_was_mapped(
    desk: Desk, tree: Settings, tmp_path: Path
) -> None:
    rows = [{"Ticket Text": row["text"], "Queue": row["label"]} for row in rows_of("classification")]
    columns = {"text": "Ticket Text", "label": "Queue"}
    data = {**tree["data"], "train": write(tmp_path, "classification", "own.jsonl", rows), "columns": columns}
    desk.tree = {**tree, "data": data, "optim": {**tree["optim"], "max_updates": 1}, "output": "out"}
    assert desk.tenfold("run", desk.recipe()).code == 0
    refused = desk.tenfold("evaluate", "out", "--data", "rows.jsonl")
    assert "--columns: not given: as in the run, label=Queue text=Ticket Text" in refused.err
    named = ("--columns", "label=label", "--columns", "text=text")
    assert "such as " + " ".join(named) in refused.err
    assert desk.tenfold("evaluate", "out", "--data", "rows.jsonl", *named).code == 0
    asked = desk.tenfold("evaluate", "out", "--data", "rows.jsonl", "--columns", "text=text")
    assert asked.code == 0 and "accuracy" in asked.out
    write(tmp_path, "classification", "asks.jsonl", [{"prompt": "a", "completion": "b"}])
    asks = desk.tenfold("evaluate", "out", "--data", "asks.jsonl", "--columns", "text=prompt").err
    assert "--columns text=prompt --columns label=completion; in a recipe" in asks


@pytest.mark.parametrize(
    ("retention", "why"), [(True, "asked of decoders alone, and the model is of the family encoder"), (False, "is off")]
)
def test_why_general_text_was_not_measured_is_told(tree: Settings, retention: bool, why: str) -> None:
    tree["optim"]["max_updates"] = 1
    kind = {"technique": {"kind": "parameter_efficient"}, "evaluation": {"retention": retention}}
    artifact = run(parse_recipe({**tree, **kind, "tuner": {"kind": "lora"}}))
    (claim,) = [
        claim for claim in artifact.claims if "general text" in claim["claim"] and "than before" in claim["claim"]
    ]
    assert claim["outcome"] == "unclear" and claim["because"].endswith(why)


def test_a_question_alone_has_no_context(tree: Settings, tmp_path: Path) -> None:
    write(tmp_path, "span")
    artifact = run(parse_recipe({**tree, "optim": {"max_updates": 1}}))
    with pytest.raises(UserError, match="a question without the context"):
        list(predict_rows(artifact.folder, prompts=["who?"], data=None, out=None, max_new_tokens=None, base=None))


def test_unknown_formats_are_told_with_those_there_are(tree: Settings) -> None:
    tree["data"]["format"] = "klassification"
    with pytest.raises(RecipeError, match="did you mean 'classification'"):
        parse_recipe(tree)
