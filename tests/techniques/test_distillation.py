"""Distillation as a user runs it: every level, with each tuner, what it leaves behind, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tenfold.answering import evaluate_rows, predict_rows
from tenfold.artifact import Artifact
from tenfold.engine.log import Log
from tenfold.errors import Interrupted, UserError
from tenfold.files import sha256_file
from tenfold.recipe import Recipe, parse_recipe
from tenfold.running import run
from tenfold.teaching import targets
from tenfold.teaching.serving import read_timings
from tenfold.teaching.teacher import Teacher
from tenfold.techniques.distillation_start import start
from tenfold.techniques.technique import find_technique
from tenfold.techniques.trial import Trial
from tenfold.terminal.check_view import show_check
from tests.techniques.teachers import taught, teacher_model

Settings = dict[str, Any]


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a teacher that answers the rows, with the students' tokenizer."""
    folder = tmp_path_factory.mktemp("teacher")
    return taught(folder, teacher_model(folder / "base"))


@pytest.fixture(scope="session")
def foreign_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a teacher that answers the rows in tokens of its own."""
    folder = tmp_path_factory.mktemp("foreign")
    words = ("lamp set red green blue grey pink brown black white lamp set",)
    return taught(folder, teacher_model(folder / "base", sentences=words))


@pytest.fixture
def distilled(settings: Settings, teacher_folder: Path, tmp_path: Path) -> Any:
    """Return a recipe for a student of the teacher, with changed options."""

    def recipe(options: Settings | None = None, **sections: Any) -> Recipe:
        technique = {"kind": "distillation", "teacher": str(teacher_folder), **(options or {})}
        return parse_recipe({**settings, "technique": technique, **sections})

    return recipe


def events(artifact: Artifact) -> list[str]:
    return [str(event["event"]) for event in Log(artifact.folder / "log.jsonl").events()]


LEVELS: dict[str, Settings] = {
    "logits": {},
    "softened": {"temperature": 2.0, "divergence": "jsd", "beta": 0.3, "alpha": 1.0},
    "hidden": {"hidden": {"layers": [[0, 1], [1, 3]], "distance": "mse"}},
    "cosine": {"hidden": {"weight": 0.5}, "alpha": 0.0},
    "sequence": {"level": "sequence"},
    "on_policy": {"level": "on_policy", "divergence": "reverse_kl", "on_policy": {"share": 0.5, "every": 2}},
}


@pytest.mark.parametrize("tuner", [{"kind": "full"}, {"kind": "lora", "rank": 4}], ids=["full", "lora"])
@pytest.mark.parametrize("level", LEVELS)
def test_every_level_trains_with_every_tuner(level: str, tuner: Settings, distilled: Any) -> None:
    artifact = run(distilled(LEVELS[level], tuner=tuner))
    assert artifact.scorecard.stages == ("before", "teacher", "distillation")
    change = artifact.scorecard.change("main", "response_loss", after="distillation")
    assert change is not None and change.test.difference.mean < 0
    assert read_timings(artifact.folder).stages == ("teacher", "distillation")
    assert {claim["outcome"] for claim in artifact.claims} <= {"held", "not held here", "unclear"}


def test_answers_of_a_teacher_with_another_tokenizer_can_be_learned(distilled: Any, foreign_teacher: Path) -> None:
    settled = {"max_rows": 8, "retention": False}
    options = {"teacher": str(foreign_teacher), "level": "sequence"}
    recipe = distilled(options, tuner={"kind": "full"}, optim=LONG, evaluation=settled)
    artifact = run(recipe)
    teacher = artifact.scorecard.score("teacher", "main")
    assert teacher is not None and teacher.primary.value > 0.5, "the teacher is scored in its own tokens"
    change = artifact.scorecard.change("main", "exact_match", after="distillation")
    assert change is not None and change.test.difference.mean > 0.3


LONG: Settings = {"batch_size": 16, "epochs": 15, "learning_rate": 1e-2}


@pytest.mark.parametrize("tuner", [{"kind": "full"}, {"kind": "lora", "rank": 4}], ids=["full", "lora"])
@pytest.mark.parametrize(
    "student",
    [
        {"layers": 2, "of": "teacher"},
        {"layers": [0, 1, 3], "of": "teacher"},
        {"layers": 1},
        {"config": {"hidden_size": 16}},
    ],
    ids=str,
)
def test_a_made_student_is_a_whole_model_that_plain_transformers_opens(
    student: Settings, tuner: Settings, distilled: Any
) -> None:
    artifact = run(distilled({"student": student}, tuner=tuner))
    assert artifact.facts["weights"] == "model"
    plain = AutoModelForCausalLM.from_pretrained(artifact.folder / "model", dtype=torch.float32)
    wanted = student.get("layers", 2)
    assert plain.config.num_hidden_layers == (wanted if isinstance(wanted, int) else len(wanted))
    tokenizer = AutoTokenizer.from_pretrained(artifact.folder / "model")
    ids = torch.tensor([tokenizer("lamp 2 blue")["input_ids"]])
    with torch.no_grad():
        # fp32 on both sides, attention computed by another kernel: a few units in the last place
        torch.testing.assert_close(plain(ids).logits, artifact.load().network(ids).logits, rtol=1e-4, atol=1e-4)
    prompts = [line["prompt"] for line in artifact.generations]
    lines = predict_rows(artifact.folder, prompts=prompts, data=None, out=None, max_new_tokens=6, base=None)
    assert [json.loads(line)["response"] for line in lines] == [line["after"] for line in artifact.generations]
    score = evaluate_rows(artifact.folder, data=str(artifact.recipe.data.train), max_rows=4, base=None)
    assert score.primary.name == artifact.recipe.evaluation.metrics[0]


def test_a_student_of_its_teachers_layers_begins_with_their_weights(distilled: Any, teacher_folder: Path) -> None:
    recipe = distilled({"student": {"layers": [0, 3], "of": "teacher"}}, tuner={"kind": "full"})
    files = start(recipe, find_technique("distillation").require_fit(recipe)).files  # type: ignore[arg-type]
    student, teacher = (
        AutoModelForCausalLM.from_pretrained(folder).state_dict() for folder in (files.folder, teacher_folder / "model")
    )
    for name, value in student.items():
        assert torch.equal(value, teacher[name.replace("layers.1.", "layers.3.")]), name


def test_the_student_that_is_compared_with_begins_alike_and_changes_nothing(distilled: Any, tmp_path: Path) -> None:
    alone, compared = distilled(), distilled({"compare": True}, output=str(tmp_path / "compared"))
    first, second = run(alone), run(compared)
    assert second.scorecard.stages == ("before", "teacher", "alone", "distillation")
    assert weights(first) == weights(second)
    instruction = parse_recipe(
        {**alone.model_dump(), "technique": {"kind": "instruction"}, "output": str(tmp_path / "instruction")}
    )
    plain = run(instruction).scorecard.score("instruction", "main")
    assert plain is not None
    found = second.scorecard.score("alone", "main")
    assert found is not None and found.measures == plain.measures
    claim = next(claim for claim in second.claims if "without its teacher" in claim["claim"])
    assert "response loss" in claim["because"]


def weights(artifact: Artifact) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in artifact.weights.glob("*.safetensors")}


def notes(artifact: Artifact) -> list[str]:
    return [str(event["text"]) for event in Log(artifact.folder / "log.jsonl").events() if event["event"] == "note"]


def test_runs_share_what_a_teacher_has_read_and_make_a_damaged_file_again(
    distilled: Any, cache: Path, tmp_path: Path
) -> None:
    first = run(distilled())
    assert any("rows, once" in note for note in notes(first))
    second = run(distilled({"alpha": 0.9}, output=str(tmp_path / "second")))
    assert any("are there already" in note for note in notes(second))
    (file,) = (cache / "lessons").glob("*/pieces.bin")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"?")
    third = run(distilled({"alpha": 0.8}, output=str(tmp_path / "third")))
    assert any("rows, once" in note for note in notes(third))
    assert file.read_bytes() == whole


def test_another_teacher_under_the_same_name_is_another_run(
    distilled: Any, teacher_folder: Path, tmp_path: Path
) -> None:
    link = tmp_path / "the-teacher"
    link.symlink_to(teacher_folder)
    recipe = distilled({"teacher": str(link)})
    run(recipe)
    link.unlink()
    link.symlink_to(teacher_folder.parent / "base")
    with pytest.raises(UserError, match="belongs to a different recipe"):
        run(recipe)


def test_asked_to_stop_while_the_teacher_reads_it_goes_on_from_there(
    distilled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenfold.teaching.targets.ROWS_PER_PART", 20)
    parts: list[list[int]] = []
    read = targets._read

    def counted(model: Any, windows: Any, rows: list[int], question: Any) -> Any:
        parts.append(rows)
        return read(model, windows, rows, question)

    monkeypatch.setattr("tenfold.teaching.targets._read", counted)
    with pytest.raises(Interrupted, match="what the teacher has read is kept"):
        run(distilled(), stop_asked=lambda: len(parts) == 2)
    run(distilled())
    assert [len(part) for part in parts[:2]] == [20, 20]
    assert len(parts) == 3, "the rest in one part, and nothing read twice"


REFUSALS: dict[str, tuple[Settings, str]] = {
    "no such teacher": ({"teacher": "nobody"}, "technique.teacher: no built-in model, file or folder 'nobody'"),
    "the student itself": ({"teacher": "MODEL"}, "is the student itself"),
    "more layers than there are": ({"student": {"layers": 3}}, r"technique.student.layers: 3 layers of .* has 2"),
    "a layer that is not there": ({"student": {"layers": [0, 2]}}, "layer 2 of .* whose last one is 1"),
    "no setting of that name": ({"student": {"config": {"hiden_size": 8}}}, "did you mean 'hidden_size'"),
    "a configuration that makes no model": ({"student": {"config": {"hidden_size": 17}}}, "makes no model"),
    "fewer tokens than the tokenizer gives": (
        {"student": {"config": {"num_hidden_layers": 1, "vocab_size": 100}}},
        r"technique.student.config.vocab_size: 100 tokens, and (.|\n)*at least \d+",
    ),
    "neither layers nor a configuration": ({"student": {"of": "teacher"}}, "one of layers and config"),
    "layers that do not rise": ({"student": {"layers": [1, 0]}}, "layer numbers from 0 that rise"),
    "layers that are no numbers": ({"student": {"layers": "two"}}, "a number of layers"),
    "no layers": ({"student": {"layers": 0}}, "at least 1 layer"),
    "more tokens than there are": ({"top_k": 4000}, r"technique.top_k: 4000 tokens, of a vocabulary of \d+"),
    "a pair that is not there": ({"hidden": {"layers": [[0, 9]]}}, r"\[0, 9\] names a layer that is not there"),
    "too few layers above": (
        {"teacher": "MODEL", "student": {"config": {"num_hidden_layers": 3}}, "hidden": {}},
        "student's 3 layers cannot be spread over the teacher's 2",
    ),
    "unread by sequence": ({"level": "sequence", "temperature": 2.0}, "technique.temperature: a student of"),
    "the teacher left out": ({"alpha": 0.0}, "leaves the teacher out of the loss"),
    "unread beta": ({"beta": 0.3}, "read by divergence: jsd alone"),
    "unread on_policy": ({"on_policy": {"share": 0.5}}, "read by level: on_policy alone"),
    "other tokens": (
        {"teacher": "FOREIGN"},
        r"technique.level: (.|\n)*set level: sequence, which learns from its text$",
    ),
    "other tokens, with what only these read": (
        {"teacher": "FOREIGN", "alpha": 0.5, "top_k": 8},
        r"set level: sequence, which learns from its text, and remove alpha, top_k$",
    ),
}


@pytest.mark.parametrize(("options", "told"), REFUSALS.values(), ids=REFUSALS)
def test_what_cannot_be_learned_is_refused_before_training(
    options: Settings, told: str, distilled: Any, model_folder: Path, foreign_teacher: Path, tmp_path: Path
) -> None:
    named = {"MODEL": str(model_folder), "FOREIGN": str(foreign_teacher)}
    options = {name: named.get(value, value) if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(UserError, match=told):
        run(distilled(options))
    assert not (tmp_path / "out").exists()


def test_two_tasks_are_refused(distilled: Any, rows_file: Path) -> None:
    with pytest.raises(UserError, match=r"data.tasks: 2 tasks; one is distilled at a time"):
        run(distilled(data={"tasks": {"one": str(rows_file), "two": str(rows_file)}}))


def test_a_teacher_of_words_cannot_teach_labels(distilled: Any, tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    rows = [{"text": f"lamp {number}", "label": "ab"[number % 2]} for number in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="learned generation, and the rows are for classification"):
        run(distilled(data={"train": str(path)}))


def test_check_says_what_the_teacher_will_do(distilled: Any, capsys: pytest.CaptureFixture[str]) -> None:
    show_check(distilled({"compare": True}), trial=False)
    told = " ".join(capsys.readouterr().out.split())
    assert "alone" in told and "reads every training row once" in told


def test_check_counts_a_teacher_that_stays_in_memory(
    distilled: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Trial(3, 2 * 10**9, 1.0, 1.0, 1.0)
    monkeypatch.setattr("tenfold.terminal.check_view.try_updates", lambda *_: found)
    monkeypatch.setattr("tenfold.teaching.teacher.Teacher.num_parameters", 10**9)
    both = {"level": "on_policy", "hidden": {}}
    for options, peak in (({}, "2.00 GB"), ({"level": "on_policy"}, "6.00 GB"), (both, "6.00 GB")):
        show_check(distilled(options), trial=True)
        assert f"peak memory {peak}" in " ".join(capsys.readouterr().out.split()), options


def test_check_tries_updates_with_the_teacher_where_hidden_states_are_learned(
    distilled: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = []
    load = Teacher.load
    monkeypatch.setattr(Teacher, "load", lambda self, runtime: loaded.append(self.name) or load(self, runtime))
    show_check(distilled({"hidden": {}, "compare": True}), trial=True)
    told = " ".join(capsys.readouterr().out.split())
    assert len(loaded) == 1 and "peak memory" in told and "alone" in told
    show_check(distilled({}), trial=True)
    assert len(loaded) == 1, "whose targets come from disk it is not loaded for a trial"


def test_a_teacher_that_never_ends_its_answers_is_told(distilled: Any, teacher_folder: Path) -> None:
    base = str(teacher_folder.parent / "base")
    with pytest.raises(UserError, match="finished no answer within"):
        run(distilled({"teacher": base, "level": "sequence"}))


def test_an_unfinished_run_cannot_teach(distilled: Any, tmp_path: Path) -> None:
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "run.json").write_text("{}")
    with pytest.raises(UserError, match="an unfinished run"):
        run(distilled({"teacher": str(tmp_path / "begun")}))


def test_raw_text_has_a_teacher_too_but_no_answers(distilled: Any, tmp_path: Path) -> None:
    path = tmp_path / "text.jsonl"
    path.write_text("".join(json.dumps({"text": f"lamp {number} is set"}) + "\n" for number in range(30)))
    data = {"train": str(path), "test_share": 0.2}
    artifact = run(distilled({"student": {"layers": 1}}, data=data))
    assert "response loss" in next(c["because"] for c in artifact.claims if "keeps at least" in c["claim"])
    for level in ("sequence", "on_policy"):
        with pytest.raises(UserError, match="raw text asks nothing"):
            run(distilled({"level": level}, data=data, output=str(tmp_path / level)))
