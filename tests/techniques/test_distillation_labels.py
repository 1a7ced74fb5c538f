"""Distillation of students that answer with labels: every kind of row, either family, what is kept, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.answering import evaluate_rows, open_kind, predict_rows
from tenfold.artifact import Artifact
from tenfold.data.label_space import LabelSpace
from tenfold.data.splits import open_splits
from tenfold.engine.log import Log
from tenfold.errors import Interrupted, ModelError, UserError
from tenfold.models.heads import saved_head
from tenfold.paths import cache_at
from tenfold.recipe import Recipe, parse_recipe
from tenfold.running import run
from tenfold.tasks.labels import LabelKind
from tenfold.teaching import class_lessons
from tenfold.teaching.classes import aligned
from tenfold.teaching.serving import read_timings
from tenfold.teaching.teacher import find_teacher
from tenfold.techniques.distillation_floor import LEAD
from tenfold.techniques.distillation_start import start
from tenfold.techniques.technique import find_technique
from tenfold.terminal.check_view import show_check
from tenfold.testing import check_technique
from tests.conftest import save_tiny_model
from tests.techniques.teachers import teacher_model
from tests.test_label_tasks import rows_of, write
from tests.tiny_models import tiny_bert
from tests.tiny_tokenizers import framed_tokenizer

Settings = dict[str, Any]
FORMATS = ("classification", "multi_label", "regression")
OPTIM: Settings = {"batch_size": 8, "max_updates": 60, "epochs": 20, "learning_rate": 3e-3, "head_learning_rate": 1e-2}


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An encoder of two layers and a decoder of four, both with random weights."""
    folder, tokenizer = tmp_path_factory.mktemp("bases"), framed_tokenizer()
    encoder = folder / "encoder"
    tiny_bert(vocab_size=len(tokenizer), seed=7).save_pretrained(encoder)
    tokenizer.save_pretrained(encoder)
    return {"encoder": str(encoder), "decoder": str(teacher_model(folder / "decoder"))}


@pytest.fixture(scope="session")
def taught(bases: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function from a format, a family and a tuner to the folder of a teacher's run, each trained once."""
    folders: dict[str, str] = {}

    def teach(format: str, family: str, tuner: str = "full") -> str:
        name = f"{format}-{family}-{tuner}"
        if name not in folders:
            folder = tmp_path_factory.mktemp(name)
            tree = {
                "model": {"name": bases[family]},
                "tuner": {"kind": tuner, **({"rank": 8} if tuner == "lora" else {})},
                "data": {"tasks": {"colours": {"train": write(folder, format), "test_share": 0.25}}},
                "optim": OPTIM,
                "evaluation": {"max_rows": 20, "retention": False},
                "runtime": {"precision": "fp32", "device": "cpu", "threads": 1},
                "output": str(folder / "run"),
            }
            with cache_at(folder / "cache"):
                folders[name] = str(run(parse_recipe(tree)).folder)
        return folders[name]

    return teach


@pytest.fixture
def distilled(settings: Settings, bases: dict[str, str], tmp_path: Path) -> Any:
    """Return a recipe for a student of a teacher's folder, on rows of a format."""

    def recipe(teacher: str, format: str = "classification", options: Settings | None = None, **other: Any) -> Recipe:
        tree = {
            **settings,
            "model": {"name": bases["encoder"]},
            "technique": {"kind": "distillation", "teacher": teacher, **(options or {})},
            "tuner": {"kind": "full"},
            "data": {"train": write(tmp_path, format, "labelled.jsonl"), "test_share": 0.25},
            "optim": {**OPTIM, "max_updates": 12},
            "evaluation": {"max_rows": 20, "retention": False},
        }
        return parse_recipe({**tree, **other})

    return recipe


def notes(artifact: Artifact) -> list[str]:
    return [str(event["text"]) for event in Log(artifact.folder / "log.jsonl").events() if event["event"] == "note"]


@pytest.mark.parametrize("family", ["encoder", "decoder"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_student_of_half_the_layers_is_trained_scored_timed_and_answers(
    format: str, family: str, taught: Any, distilled: Any, bases: dict[str, str], tmp_path: Path
) -> None:
    half = {"encoder": 1, "decoder": 2}[family]
    options = {"student": {"layers": half, "of": "teacher"}, "compare": True}
    artifact = run(distilled(taught(format, family), format, options, model={"name": bases[family]}))
    card, timed = artifact.scorecard, read_timings(artifact.folder)
    assert card.stages == ("before", "teacher", "alone", "distillation")
    assert timed.stages == ("teacher", "distillation")
    student = timed.score("distillation", "serving")
    assert student is not None and student.measures["rows_per_second"].value > 0
    judged = {claim["claim"]: claim["because"] for claim in artifact.claims}
    name = card.score("teacher", "main").primary.title  # type: ignore[union-attr]
    assert "rows per second" in judged["faster than its teacher, on this machine"]
    assert f"of its {name} (" in judged["keeps at least 90% of its teacher's score on test rows"]
    assert judged["better than the same student without its teacher"].startswith(name)
    assert artifact.facts["weights"] == "model"
    rows = write(tmp_path, format)
    lines = [json.loads(line) for line in predict(artifact, rows)]
    assert len(lines) == 64 and all("label" in line for line in lines)
    assert evaluate_rows(artifact.folder, data=rows, max_rows=None, base=None).primary.num_items == 64


def predict(artifact: Artifact, rows: str) -> list[str]:
    return list(predict_rows(artifact.folder, prompts=[], data=rows, out=None, max_new_tokens=None, base=None))


@pytest.mark.parametrize(("teacher", "student"), [("encoder", "decoder"), ("decoder", "encoder")])
def test_the_other_family_learns_too_in_tokens_of_its_own(
    teacher: str, student: str, taught: Any, distilled: Any, bases: dict[str, str]
) -> None:
    folder = taught("classification", teacher)
    evaluation = {"max_rows": 20, "retention": True}
    optim = {**OPTIM, "max_updates": 30}
    model = {"name": bases[student]}
    # the teacher alone says which class it is: without it nothing could be learned
    artifact = run(distilled(folder, options={"alpha": 1.0}, model=model, evaluation=evaluation, optim=optim))
    change = artifact.scorecard.change("main", "negative_log_likelihood")
    assert change is not None and change.is_better
    before, seen = (artifact.scorecard.score(stage, "main") for stage in ("before", "teacher"))
    assert before is not None and seen is not None and seen.measures["accuracy"].value > 0.9
    assert seen.primary.num_items == before.primary.num_items, "both answer the same rows, each in its own tokens"


@pytest.mark.parametrize("tuner", ["lora", "frozen"])
def test_what_any_tuner_has_learned_can_be_taught(tuner: str, taught: Any, distilled: Any) -> None:
    folder = taught("classification", "decoder", tuner)
    artifact = run(distilled(folder, options={"student": {"layers": 2, "of": "teacher"}}, tuner={"kind": "lora"}))
    assert artifact.facts["weights"] == "model"
    wanted, _ = saved_head(Artifact.open(folder).weights, "colours")
    assert wanted.shape == saved_head(artifact.weights, "main")[0].shape


def begun(recipe: Recipe) -> Path:
    """Return the folder of the student that a recipe begins with."""
    return start(recipe, find_technique("distillation").require_fit(recipe)).files.folder  # type: ignore[arg-type]


def test_a_student_of_all_of_its_teachers_layers_pays_nothing_and_stays_as_it_is(
    taught: Any, distilled: Any, bases: dict[str, str]
) -> None:
    folder = taught("classification", "encoder")
    options = {"student": {"layers": 2, "of": "teacher"}, "alpha": 1.0, "temperature": 2.0}
    optim = {**OPTIM, "max_updates": 3}
    artifact = run(distilled(folder, options=options, optim=optim))
    losses = [event["loss"] for event in Log(artifact.folder / "log.jsonl").events() if event["event"] == "update"]
    # the lessons are fp32, computed in other batches: a few units in the last place of logits around 1
    assert len(losses) == 3 and abs(float(losses[0])) < 1e-5
    before, teacher = (artifact.scorecard.score(stage, "main") for stage in ("before", "teacher"))
    assert before is not None and teacher is not None
    assert before.measures["accuracy"] == teacher.measures["accuracy"], "the head was copied with the layers"


@pytest.mark.parametrize("format", FORMATS)
def test_a_copied_head_says_what_the_teachers_says_in_the_students_labels(
    format: str, taught: Any, distilled: Any, tmp_path: Path
) -> None:
    """Rows in another order of labels, or with numbers of another mean and spread, are answered alike."""
    folder = taught(format, "encoder")
    rows = rows_of(format)
    data: Settings = {"test_share": 0.25}
    if format == "regression":
        rows = [row if place % 5 else {**row, "target": 150.0} for place, row in enumerate(rows)]
    else:
        names = Artifact.open(folder).facts["tasks"]["colours"]["labels"]["names"]
        data["labels"] = names[::-1]
    data["train"] = write(tmp_path, "", "other.jsonl", rows)
    still = {**OPTIM, "max_updates": 1, "learning_rate": 1e-12, "head_learning_rate": 1e-12}
    recipe = distilled(folder, options={"student": {"layers": 2, "of": "teacher"}}, data=data, optim=still)
    texts = [row["text"] for row in rows[:8]]
    answers = []
    for artifact in (Artifact.open(folder), run(recipe)):
        lines = predict_rows(artifact.folder, prompts=texts, data=None, out=None, max_new_tokens=None, base=None)
        answers.append([json.loads(line) for line in lines])
    for theirs, mine in zip(*answers, strict=True):
        if format == "regression":
            assert mine["label"] == pytest.approx(theirs["label"], rel=1e-4)
        else:
            assert list(mine["probabilities"]) == list(theirs["probabilities"])[::-1]
            assert mine["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-4)


def test_lessons_are_the_teachers_own_logits_in_the_order_of_the_rows(
    taught: Any, distilled: Any, cache: Path, tmp_path: Path
) -> None:
    folder = taught("classification", "decoder")
    recipe = distilled(folder)
    artifact = run(recipe)
    (file,) = (cache / "lessons").glob("*/logits.npy")
    kept = np.load(file)
    teacher = Artifact.open(folder)
    model = teacher.load()
    kind = open_kind(teacher, "colours", model)
    assert isinstance(kind, LabelKind)
    rows = open_splits(artifact.recipe.tasks["main"], seed=0, with_validation=False).train
    asked = [kind.question(rows.example(number).text) for number in range(len(rows))]  # type: ignore[union-attr]
    wanted = torch.stack(kind.logits(model, [laid.ids for laid in kind.renderer.lay(asked)]))
    assert kept.shape == (len(rows), 4)
    torch.testing.assert_close(torch.from_numpy(kept), wanted, rtol=1e-4, atol=1e-4)


def test_the_teacher_reads_once_and_students_of_any_alpha_or_size_share_that(
    taught: Any, distilled: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    inner = class_lessons._read

    def counted(model: Any, kind: Any, rows: Any, numbers: list[int]) -> Any:
        read.extend(numbers)
        return inner(model, kind, rows, numbers)

    monkeypatch.setattr(class_lessons, "_read", counted)
    monkeypatch.setattr(class_lessons, "ROWS_PER_PART", 20)
    folder = taught("classification", "encoder")
    with pytest.raises(Interrupted, match="what the teacher has read is kept"):
        run(distilled(folder), stop_asked=lambda: len(read) >= 20)
    first = run(distilled(folder))
    count = len(read)
    assert sorted(read) == list(range(count)), "the rest was read, and nothing twice"
    options = {"alpha": 0.9, "temperature": 3.0, "student": {"layers": 1}}
    second = run(distilled(folder, options=options, output=str(tmp_path / "second")))
    assert len(read) == count and any("there already" in note for note in notes(second))
    (file,) = (cache / "lessons").glob("*/logits.npy")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"?")
    run(distilled(folder, options={"alpha": 0.8}, output=str(tmp_path / "third")))
    assert len(read) == 2 * count and file.read_bytes() == whole, "a damaged file is made again"
    assert first.facts["updates"] == second.facts["updates"]


def test_another_head_on_the_same_weights_is_another_teacher(taught: Any, distilled: Any, tmp_path: Path) -> None:
    for tuner in ("full", "frozen"):
        folder = Path(taught("classification", "encoder", tuner))
        before = find_teacher(str(folder)).sha256
        file = folder / ("model" if tuner == "full" else "heads") / "heads.safetensors"
        whole = file.read_bytes()
        try:
            file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
            assert find_teacher(str(folder)).sha256 != before
        finally:
            file.write_bytes(whole)


REFUSALS: dict[str, tuple[str, Settings, str]] = {
    "another level": ("classification", {"level": "sequence"}, r"technique.level: level: sequence learns from answers"),
    "on policy": ("classification", {"level": "on_policy"}, r"technique.level: level: on_policy learns from answers"),
    "hidden states": ("classification", {"hidden": {}}, r"technique.hidden: would be read by nothing"),
    "top tokens": ("multi_label", {"top_k": 8}, r"technique.top_k: would be read by nothing"),
    "a temperature of numbers": ("regression", {"temperature": 2.0}, "numbers have no distribution"),
    "tags": ("tags", {}, "tags lie on tokens, and rows of this format are not distilled"),
    "answers in a context": ("span", {}, "span lie on tokens"),
    "a teacher of other rows": ("multi_label", {"teacher": "CLASSES"}, "learned classification, and the rows are for"),
    "a plain model": ("classification", {"teacher": "PLAIN"}, "is no run of Tenfold's, so it has no head"),
    "too large a curve": ("classification", {"curve": [3]}, r"technique.curve: 3 layers of .*, which has 2"),
    "a curve of a size twice": ("classification", {"curve": [1, 1]}, "numbers of layers, each once"),
    "a curve of new models": ("classification", {"curve": [1], "student": {"config": {"hidden_size": 16}}}, "curve"),
}


@pytest.mark.parametrize(("format", "options", "told"), REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_be_learned_is_refused_before_training(
    format: str, options: Settings, told: str, taught: Any, distilled: Any, bases: dict[str, str], tmp_path: Path
) -> None:
    own = taught(format if format in FORMATS else "classification", "encoder")
    named = {"CLASSES": taught("classification", "encoder"), "PLAIN": bases["encoder"]}
    teacher = named.get(options.get("teacher", ""), own)
    rest = {name: value for name, value in options.items() if name != "teacher"}
    with pytest.raises(UserError, match=told):
        run(distilled(teacher, format, rest))
    assert not (tmp_path / "out").exists()


def test_other_labels_than_the_teachers_are_refused_by_name(taught: Any, distilled: Any, tmp_path: Path) -> None:
    rows = [{**row, "label": "violet" if row["label"] == "red" else row["label"]} for row in rows_of("classification")]
    data = {"train": write(tmp_path, "", "other.jsonl", rows), "test_share": 0.25}
    folder = taught("classification", "encoder")
    with pytest.raises(UserError, match=r"never learned violet; only .* knows red"):
        run(distilled(folder, data=data))
    assert not (tmp_path / "out").exists()


def test_another_pooling_than_that_of_the_copied_head_is_refused(taught: Any, distilled: Any, tmp_path: Path) -> None:
    data = {"train": write(tmp_path, "classification"), "test_share": 0.25, "pooling": "first"}
    options = {"student": {"layers": 1, "of": "teacher"}}
    with pytest.raises(UserError, match=r"data.pooling: first, and the teacher's head.* reads mean"):
        run(distilled(taught("classification", "encoder"), options=options, data=data))


def test_a_classifier_cannot_teach_words(taught: Any, distilled: Any, rows_file: Path, model_folder: Path) -> None:
    data = {"train": str(rows_file), "test_share": 0.2}
    with pytest.raises(UserError, match="learned classification, and the rows are answered in words"):
        run(distilled(taught("classification", "decoder"), data=data, model={"name": str(model_folder)}))


def test_a_run_that_learned_words_beside_labels_is_refused_as_what_it_is(
    taught: Any, distilled: Any, bases: Settings, rows_file: Path, tmp_path: Path
) -> None:
    colours = write(tmp_path, "classification", "colours.jsonl")
    tree = {
        "model": {"name": bases["decoder"]},
        "technique": {"kind": "multi_task"},
        "data": {"tasks": {"colours": colours, "lamps": str(rows_file)}, "test_share": 0.25},
        "optim": {"batch_size": 8, "max_updates": 1},
        "evaluation": {"max_rows": 2, "max_new_tokens": 2, "retention": False},
        "runtime": {"precision": "fp32", "device": "cpu", "threads": 1},
        "output": str(tmp_path / "several"),
    }
    several = run(parse_recipe(tree)).folder
    data = {"train": str(rows_file), "test_share": 0.2}
    told = r"a run of several tasks: classification beside words \(lamps\)(.|\n)*rows of lamps alone"
    with pytest.raises(UserError, match=told):
        run(distilled(str(several), data=data, model={"name": bases["encoder"]}))


def test_labels_may_stand_in_another_order_and_numbers_have_another_unit() -> None:
    first, second = (LabelSpace("class", names, (1, 1, 1)) for names in (("a", "b", "c"), ("c", "a", "b")))
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    assert aligned(first, second, name="teacher").outputs(logits).tolist() == [[3.0, 1.0, 2.0]]
    metres = LabelSpace("value", mean=2.0, spread=0.5)
    other = LabelSpace("value", mean=4.0, spread=2.0)
    # the teacher's 3 spreads are 3.5, which lies a quarter of the student's spread below its mean
    assert aligned(metres, other, name="teacher").outputs(torch.tensor([[3.0]])).tolist() == [[-0.25]]
    with pytest.raises(ModelError, match="never learned d"):
        aligned(first, LabelSpace("class", ("a", "b", "d"), (1, 1, 1)), name="teacher")


def test_it_keeps_the_promises_of_every_technique(taught: Any, distilled: Any, tmp_path: Path) -> None:
    options = {"student": {"layers": 1, "of": "teacher"}, "compare": True, "curve": [2]}
    recipe = distilled(taught("classification", "encoder"), options=options, optim={**OPTIM, "max_updates": 3})
    check_technique(recipe, tmp_path / "runs")


def test_a_curve_trains_students_of_each_size_and_changes_nothing_of_the_main_one(
    taught: Any, distilled: Any, bases: dict[str, str], tmp_path: Path
) -> None:
    folder = taught("classification", "decoder")
    options = {"student": {"layers": 2, "of": "teacher"}}
    model = {"name": bases["decoder"]}
    plain = run(distilled(folder, options=options, model=model))
    curve = {**options, "curve": [3, 2, 1]}
    artifact = run(distilled(folder, options=curve, model=model, output=str(tmp_path / "curve")))
    assert artifact.scorecard.stages == ("before", "teacher", "layers-3", "layers-1", "distillation")
    assert weights(plain) == weights(artifact), "the main student is what it would be without them"
    table = artifact.facts["reported"]
    rows = ["teacher of 4 layers", *(f"student of {size} layers" for size in (3, 2, 1))]
    assert [name for name in table if name != LEAD] == rows
    sizes = [table[row]["million parameters"] for row in rows]
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == 4
    shown = f"{artifact.scorecard.score('layers-3', 'main').primary.value:.3f} ["  # type: ignore[union-attr]
    assert table["student of 3 layers"]["accuracy"].startswith(shown)
    assert set(table["student of 1 layers"]) - set(table["teacher of 4 layers"]) == {
        "times as fast",
        "share of the teacher's",
    }
    assert set(read_timings(artifact.folder).stages) == {"teacher", "distillation", "layers-3", "layers-1"}
    assert sum("rows, once" in note for note in notes(artifact)) == 0, "the first run's lessons serve all"
    assert artifact.cost.comparison_seconds > plain.cost.comparison_seconds == 0


def weights(artifact: Artifact) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in artifact.weights.glob("*.safetensors")}


def test_words_have_a_curve_too(settings: Settings, tmp_path: Path) -> None:
    teacher = str(teacher_model(tmp_path / "teacher"))
    technique = {"kind": "distillation", "teacher": teacher, "student": {"layers": 3, "of": "teacher"}, "curve": [1]}
    tree = {**settings, "technique": technique, "tuner": {"kind": "full"}}
    artifact = run(parse_recipe(tree))
    assert artifact.scorecard.stages == ("before", "teacher", "layers-1", "distillation")
    figures = artifact.facts["reported"]["student of 1 layers"]
    assert "tokens per second" in figures and "exact match" in figures


def test_check_tells_what_the_curve_costs(
    settings: Settings, model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = str(save_tiny_model(tmp_path / "teacher", seed=3))
    technique = {"kind": "distillation", "teacher": teacher, "curve": [2, 1]}
    show_check(parse_recipe({**settings, "technique": technique}), trial=False)
    told = " ".join(capsys.readouterr().out.split())
    assert "layers-1" in told and "the curve's students have 1 layers" in told


def test_the_curves_students_have_their_share_of_a_budget(settings: Settings, tmp_path: Path) -> None:
    teacher = str(teacher_model(tmp_path / "teacher"))
    technique = {"kind": "distillation", "teacher": teacher, "student": {"layers": 2, "of": "teacher"}, "curve": [3, 1]}
    optim = {"batch_size": 8, "total_updates": 6, "learning_rate": 1e-2}
    artifact = run(parse_recipe({**settings, "technique": technique, "tuner": {"kind": "full"}, "optim": optim}))
    stages = [event["stage"] for event in Log(artifact.folder / "log.jsonl").events() if event["event"] == "update"]
    assert stages == ["layers-3"] * 2 + ["layers-1"] * 2 + ["distillation"] * 2


@pytest.mark.parametrize("format", FORMATS)
def test_the_teachers_lead_over_guessing_is_told(format: str, taught: Any, distilled: Any, tmp_path: Path) -> None:
    data = {"train": write(tmp_path, format), "test_share": 0.25}
    artifact = run(distilled(taught(format, "encoder"), options={"student": {"layers": 1}}, data=data))
    lead = artifact.facts["reported"][LEAD]
    score = artifact.scorecard.score("teacher", "main")
    assert score is not None
    if format == "classification":
        wanted = [line["reference"] for line in artifact.generations]
        assert lead["guessing"] in {round(wanted.count(label) / len(wanted), 3) for label in wanted}
    assert lead["change"].startswith(score.primary.title)
