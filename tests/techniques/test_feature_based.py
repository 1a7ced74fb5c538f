"""Feature-based transfer from recipe to answers: what it saves, refuses, compares, and never does twice."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import AutoModel, AutoTokenizer

import tenfold
from tenfold.answering import evaluate_rows, predict_rows
from tenfold.artifact import Artifact
from tenfold.errors import ArtifactError, Interrupted, TenfoldError
from tenfold.features import extract
from tenfold.recipe import parse_recipe
from tenfold.running import run as carry_out
from tenfold.terminal.check_view import show_check
from tests.command import Desk

Settings = dict[str, Any]
COLOURS = ("blue", "green", "red")


def text(number: int) -> str:
    colour = COLOURS[number % 3]
    return f"lamp {number} {colour} {colour}" + " please" * (number % 5)


def labelled(number: int, form: str) -> dict[str, object]:
    colour = COLOURS[number % 3]
    if form == "class":
        return {"text": text(number), "label": colour}
    if form == "classes":
        return {"text": text(number), "labels": [colour, "polite"] if number % 5 else [colour]}
    return {"text": text(number), "target": 10.0 * (number % 3) + number % 5}


def write_rows(path: Path, form: str = "class", *, start: int = 0, count: int = 75) -> Path:
    rows = [labelled(number, form) for number in range(start, start + count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def tree(settings: Settings, encoder_folder: Path, tmp_path: Path) -> Settings:
    """A recipe that fits two estimators to two views of a tiny encoder's states."""
    train, test = write_rows(tmp_path / "train.jsonl"), write_rows(tmp_path / "test.jsonl", start=100, count=30)
    return {
        **settings,
        "model": {"name": str(encoder_folder)},
        "tuner": {"kind": "frozen"},
        "technique": {
            "kind": "feature_based",
            "estimators": [
                {"name": "LogisticRegression", "C": 0.5},
                {"name": "KNeighborsClassifier", "n_neighbors": 3},
            ],
            "layers": [-1, [0, 1]],
            "pooling": ["mean"],
            "folds": 3,
        },
        "data": {"train": str(train), "test": str(test)},
        "evaluation": {"max_rows": 30, "retention": False},
    }


def run(tree: Settings, **changes: Any) -> Artifact:
    return tenfold.run(parse_recipe({**tree, **changes}))


def with_options(tree: Settings, **options: Any) -> Settings:
    return {**tree, "technique": {**tree["technique"], **options}}


def test_the_whole_way_gives_what_transformers_and_scikit_learn_give_by_hand(tree: Settings, tmp_path: Path) -> None:
    options = {"estimators": [{"name": "LogisticRegression", "C": 0.5}], "layers": [-1]}
    artifact = run(with_options(tree, **options))
    folder = tree["model"]["name"]
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def features(path: str) -> tuple[np.ndarray, list[str]]:
        rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
        with torch.no_grad():
            pooled = [
                model(torch.tensor([tokenizer(row["text"])["input_ids"]])).last_hidden_state[0].mean(0) for row in rows
            ]
        return torch.stack(pooled).numpy(), [row["label"] for row in rows]

    x, y = features(tree["data"]["train"])
    by_hand = make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(x, y)
    others, wanted = features(tree["data"]["test"])
    score = artifact.scorecard.score("feature_based", "main")
    assert score is not None and list(score.predictions) == by_hand.predict(others).tolist()
    assert score.measures["accuracy"].value == pytest.approx(by_hand.score(others, wanted))
    loss = -np.log([by_hand.predict_proba(others)[n, list(by_hand.classes_).index(y)] for n, y in enumerate(wanted)])
    # the solver stops within its tolerance, from features that differ in the last bits
    assert score.measures["negative_log_likelihood"].value == pytest.approx(loss.mean(), rel=1e-2)


def test_row_0_is_the_majority_class_and_no_parameter_trains(tree: Settings) -> None:
    artifact = run(tree)
    assert artifact.scorecard.stages == ("before", "feature_based")
    before = artifact.scorecard.score("before", "main")
    assert before is not None and len(set(before.predictions)) == 1
    assert artifact.cost.trainable_parameters == 0 and artifact.facts["weights"] == "estimators"
    outcomes = {claim["claim"]: claim["outcome"] for claim in artifact.claims}
    assert outcomes["trains no parameter of the model"] == "held"
    assert outcomes["better than without features (majority class, or mean)"] == "held"
    assert list(outcomes.values()).count("unclear") == 3, "nothing was compared with"


def test_the_table_has_every_candidate_with_its_folds(tree: Settings) -> None:
    artifact = run(tree)
    table = json.loads((artifact.weights / "main" / "candidates.json").read_text(encoding="utf-8"))
    found = [(each["estimator"], each["layers"], len(each["scores"])) for each in table["candidates"]]
    assert found == [
        ("LogisticRegression", [2], 3),
        ("KNeighborsClassifier", [2], 3),
        ("LogisticRegression", [0, 1], 3),
        ("KNeighborsClassifier", [0, 1], 3),
    ]
    means = [each["mean"] for each in table["candidates"]]
    assert table["best"] == means.index(max(means)) and table["metric"] == "accuracy"


@pytest.mark.parametrize(
    ("form", "estimator", "metric"),
    [("classes", "LogisticRegression", "micro_f1"), ("value", "Ridge", "mean_absolute_error")],
)
def test_labels_and_numbers_are_learned_too_and_answered_alike_when_loaded(
    form: str, estimator: str, metric: str, tree: Settings, tmp_path: Path
) -> None:
    train = write_rows(tmp_path / "other.jsonl", form)
    test = write_rows(tmp_path / "other-test.jsonl", form, start=200, count=20)
    data = {"train": str(train), "test": str(test)}
    artifact = run(with_options(tree, estimators=[estimator]), data=data)
    before, after = (artifact.scorecard.score(stage, "main") for stage in ("before", "feature_based"))
    assert before is not None and after is not None and after.primary.name == metric
    change = artifact.scorecard.task_change()
    assert change is not None and change.is_better
    again = evaluate_rows(artifact.folder, data=str(test), max_rows=None, base=None)
    assert again.measures[metric].value == pytest.approx(after.measures[metric].value)
    assert again.predictions == after.predictions


def test_a_saved_artifact_predicts_as_the_run_did(tree: Settings, tmp_path: Path) -> None:
    artifact = run(tree)
    lines = predict_rows(
        artifact.folder, prompts=[], data=tree["data"]["test"], out=None, max_new_tokens=None, base=None
    )
    score = artifact.scorecard.score("feature_based", "main")
    assert score is not None
    assert [json.loads(line)["label"] for line in lines] == list(score.predictions)


def test_another_base_is_refused(tree: Settings, model_folder: Path) -> None:
    artifact = run(tree)
    with pytest.raises(ArtifactError):
        artifact.load(base=str(model_folder))


@pytest.mark.parametrize("name", ["estimator.skops", "reader.json", "candidates.json"])
def test_a_damaged_artifact_is_refused(name: str, tree: Settings, desk: Desk) -> None:
    artifact = run(tree)
    (artifact.weights / "main" / name).write_bytes(b"{}")
    if name == "candidates.json":
        done = desk.tenfold("show", str(artifact.folder))
        assert done.code != 0 and "damaged" in done.err
    else:
        with pytest.raises(ArtifactError):
            artifact.load()


def test_a_rerun_reads_and_fits_nothing(tree: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(tree)

    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("read or fitted again")

    monkeypatch.setattr("tenfold.features.extract.read_parts", never)
    monkeypatch.setattr("tenfold.features.readers.read_parts", never)
    monkeypatch.setattr("tenfold.features.fit.make_estimator", never)
    again = run(tree, output=str(tmp_path / "again"))
    assert again.scorecard.to_json() == first.scorecard.to_json()
    assert again.cost.peak_memory_bytes == first.cost.peak_memory_bytes > 0
    assert again.facts["reported"] == first.facts["reported"]


def test_another_estimator_on_the_same_rows_reads_no_feature_again(
    tree: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tree)
    monkeypatch.setattr("tenfold.features.extract.read_parts", None)
    changed = with_options(tree, estimators=["GaussianNB"])
    assert run(changed, output=str(tmp_path / "again")).scorecard.stages[-1] == "feature_based"


class Heard:
    """A listener that keeps what was said of reading features."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def hear(self, event: Any) -> None:
        text = str(event.get("text", ""))
        self.lines += [text] if text.startswith("features:") else []


def test_an_interrupted_extraction_goes_on(tree: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "ROWS_PER_CHUNK", 20)
    straight = run(tree, output=str(tmp_path / "straight"))
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache-2"))
    recipe = parse_recipe({**tree, "output": str(tmp_path / "stopped")})
    first, second = Heard(), Heard()
    with pytest.raises(Interrupted, match="while features were read"):
        carry_out(recipe, listeners=(first,), stop_asked=lambda: len(first.lines) >= 2)
    assert first.lines == ["features: 20 of 75 rows", "features: 40 of 75 rows"]
    stopped = carry_out(recipe, listeners=(second,))
    assert second.lines == ["features: 60 of 75 rows", "features: 75 of 75 rows"]
    assert stopped.scorecard.to_json() == straight.scorecard.to_json()


def test_fine_tuning_is_compared_where_asked_for(tree: Settings) -> None:
    options = {
        "compare": True,
        "compare_learning_rate": 1e-3,
        "curve": [4, 8],
        "curve_seeds": [0, 1],
        "curve_updates": 2,
    }
    artifact = run(with_options(tree, **options))
    assert artifact.scorecard.stages == ("before", "fine_tuning", "feature_based")
    assert artifact.cost.trainable_parameters == 0, "what is saved trains nothing"
    assert artifact.cost.comparison_seconds > 0
    reported = artifact.facts["reported"]
    assert set(reported["seconds of main"]) == {"fine_tuning", "features", "choosing", "fitting"}
    for rows in (4, 8):
        point = reported[f"accuracy of main, {rows} rows a class"]
        assert len(point["features"]) == len(point["fine_tuning"]) == 2
    assert not any("not measured" in claim["because"] for claim in artifact.claims)


def test_a_curve_point_is_the_score_of_a_run_on_those_rows(tree: Settings, tmp_path: Path) -> None:
    options = {"estimators": ["LogisticRegression"], "layers": [-1], "curve": [1000], "curve_seeds": [0]}
    artifact = run(with_options(tree, **options))
    score = artifact.scorecard.score("feature_based", "main")
    assert score is not None, "with all rows of each class"
    assert artifact.facts["reported"]["accuracy of main, 1000 rows a class"]["features"] == [score.primary.value]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tuner": {"kind": "lora"}}, "nothing of the model trains here"),
        ({"estimators": ["LogisticRegresion"]}, "LogisticRegression"),
        ({"estimators": [{"name": "SVC", "c": 1}]}, "no such option"),
        ({"estimators": ["Ridge"]}, "Ridge is no classifier"),
        ({"layers": [7]}, "no layer 7"),
        ({"layers": ["all"]}, "technique.layers"),
        ({"pooling": ["middle"]}, "technique.pooling"),
        ({"folds": 80}, "cannot make 80 folds"),
        ({"evaluation": {"every": 2}}, "no checkpoints to choose from"),
        ({"data": {"class_weights": "balanced"}}, "class_weight: balanced"),
        ({"data": {"pooling": "first"}}, "technique.pooling: [first]"),
        ({"estimatos": ["SVC"]}, "estimators"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_runs(
    changes: Settings, message: str, tree: Settings, tmp_path: Path
) -> None:
    sections = {key: {**tree[key], **value} for key, value in changes.items() if key in ("evaluation", "data")}
    options = {key: value for key, value in changes.items() if key not in ("tuner", *sections)}
    changed = {
        **with_options(tree, **options),
        **sections,
        **({"tuner": changes["tuner"]} if "tuner" in changes else {}),
    }
    with pytest.raises(TenfoldError) as caught:
        run(changed)
    assert message in str(caught.value)
    assert not (tmp_path / "cache" / "features").exists() and not (tmp_path / "cache" / "stages").exists()


def test_tagged_words_and_a_curve_of_numbers_are_refused(tree: Settings, tmp_path: Path) -> None:
    tagged = tmp_path / "tagged.jsonl"
    rows = [{"tokens": ["lamp", str(number)], "tags": ["O", "N"]} for number in range(20)]
    tagged.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(TenfoldError, match="no label for a whole row"):
        run(tree, data={"train": str(tagged)})
    numbers = write_rows(tmp_path / "numbers.jsonl", "value")
    with pytest.raises(TenfoldError, match="rows are of no classes"):
        run(with_options(tree, estimators=["Ridge"], curve=[8]), data={"train": str(numbers)})
    with pytest.raises(TenfoldError, match="Logistic"):
        run(with_options(tree, estimators=["LogisticRegression"]), data={"train": str(numbers)})
    assert not Path(tree["output"]).exists(), "a recipe that was refused owns no folder"


def test_check_run_show_and_chat(tree: Settings, desk: Desk, tmp_path: Path) -> None:
    desk.tree = {**tree, "output": "out"}
    recipe = desk.recipe()
    checked = desk.tenfold("check", recipe)
    assert checked.code == 0, checked.text
    told = " ".join(checked.out.split())
    assert "no parameter of the model trains" in told and "estimators LogisticRegression, " in told
    assert desk.tenfold("run", recipe).code == 0
    shown = desk.tenfold("show", "out").out
    assert "before: without features" in shown and "KNeighborsClassifier" in shown
    assert "tenfold predict out" in shown and "tenfold chat" not in shown
    chat = desk.tenfold("chat", "out")
    assert chat.code != 0 and "use `tenfold predict`" in chat.err
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "estimator.skops" in card and 'library_name: "sklearn"' in card


def test_a_starter_recipe_runs(tree: Settings, desk: Desk, encoder_folder: Path) -> None:
    made = desk.tenfold("init", "feature_based", "--data", tree["data"]["train"], "--model", str(encoder_folder))
    assert made.code == 0, made.text
    fast = ["runtime.precision=fp32", "technique.folds=2"]
    done = desk.tenfold("run", "recipe.yaml", *(part for each in fast for part in ("--set", each)))
    assert done.code == 0, done.text
    assert "LogisticRegression(C=0.1, max_iter=1000)" in done.out and "SVC(C=1.0)" in done.out


def test_a_decoder_gives_features_too(tree: Settings, model_folder: Path) -> None:
    options = {"estimators": ["LogisticRegression"], "pooling": ["last", "weighted_mean"]}
    artifact = run(with_options(tree, **options), model={"name": str(model_folder)})
    change = artifact.scorecard.task_change()
    assert change is not None and change.is_better
    assert artifact.load().readers.keys() == {"main"}


def test_check_tells_what_reading_takes(tree: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    show_check(parse_recipe(tree), trial=True)
    told = re.search(r"peak memory ([\d.]+) GB; choosing and fitting", " ".join(capsys.readouterr().out.split()))
    assert told and float(told.group(1)) > 0.1
