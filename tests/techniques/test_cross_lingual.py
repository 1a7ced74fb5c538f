"""Cross-lingual tuning on a tiny model: a task for each language, none of the others' rows trained, then a few."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tenfold.answering import evaluate_rows, predict_rows
from tenfold.data.sources import open_rows
from tenfold.engine.log import Log
from tenfold.engine.runtime import open_runtime
from tenfold.errors import DataError, RecipeError, UserError
from tenfold.evaluation.cost import Cost
from tenfold.evaluation.lineage import Ancestor, Lineage
from tenfold.evaluation.scorecard import BEFORE, Measure, Score, Scorecard
from tenfold.models.load import outline
from tenfold.models.masked_head import open_masked_head
from tenfold.recipe import Recipe, parse_recipe
from tenfold.running import run
from tenfold.techniques.context import Run
from tenfold.techniques.cross_lingual import TECHNIQUE, plan
from tenfold.techniques.cross_lingual_claims import COMMONEST, better_than_alone, few_rows_add, transfers_zero_shot
from tenfold.techniques.cross_lingual_options import few_shot_name
from tenfold.techniques.languages import fertility
from tenfold.techniques.opened import open_recipe
from tenfold.techniques.technique import Evidence
from tenfold.techniques.world import open_world
from tenfold.terminal.check_view import show_check
from tenfold.testing import check_technique
from tests.command import Desk
from tests.conftest import COLOURS
from tests.tiny_models import tiny_masked_lm
from tests.tiny_tokenizers import byte_tokenizer, framed_tokenizer

WORDS = {"en": "lamp", "de": "lampe", "fr": "lampe a", "zh-CN": "灯"}
KIND: dict[str, Any] = {"kind": "cross_lingual", "language_column": "language"}
BOTTLENECK: dict[str, Any] = {"kind": "bottleneck", "reduction": 4}

Speak = Callable[..., Recipe]


@pytest.fixture
def spoken_file(tmp_path: Path) -> Path:
    """40 English, 24 German, 24 French and 24 Chinese prompts with a short answer each."""
    path = tmp_path / "spoken.jsonl"
    rows = [
        {"prompt": f"{word} {number} {COLOURS[number % 8]}", "completion": COLOURS[number % 8], "language": language}
        for language, word in WORDS.items()
        for number in range(40 if language == "en" else 24)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def speak(settings: dict[str, Any], spoken_file: Path, tmp_path: Path) -> Speak:
    count = 0

    def make(technique: dict[str, Any], **sections: Any) -> Recipe:
        nonlocal count
        count += 1
        data = {"train": str(spoken_file), "test_share": 0.25}
        tree = {**settings, "data": data, "technique": technique, "output": str(tmp_path / f"out-{count}")}
        return parse_recipe({**tree, **sections})

    return make


def opened(recipe: Recipe) -> Recipe:
    return TECHNIQUE.expand(recipe, TECHNIQUE.require_fit(recipe))


def test_rows_become_a_task_for_each_language_and_only_the_source_trains(speak: Speak) -> None:
    artifact = run(speak(KIND))
    assert list(artifact.recipe.tasks) == ["en", "de", "fr", "zh-CN"]
    assert artifact.scorecard.stages == (BEFORE, "zero_shot")
    assert artifact.scorecard.tasks == ("en", "de", "fr", "zh-CN")
    assert artifact.lineage.stages[0].tasks == ("en",)
    shown = (artifact.folder / "preview.txt").read_text()
    assert "lampe 1" in shown or "lampe 2" in shown, "rows of every language are shown"
    reported = artifact.facts["reported"]
    assert set(reported[COMMONEST]) == set(WORDS)
    kept = [row for row in artifact.generations if row["task"] == "de"]
    assert kept and all(row["prompt"].startswith("lampe ") for row in kept)
    lines = predict_rows(
        artifact.folder,
        prompts=[row["prompt"] for row in kept],
        data=None,
        out=None,
        max_new_tokens=6,
        base=None,
        task="de",
    )
    assert [json.loads(line)["response"] for line in lines] == [row["after"] for row in kept]


def test_the_trained_rows_are_those_of_the_source(speak: Speak, tmp_path: Path, monkeypatch: Any) -> None:
    from tenfold.techniques import context

    met: list[str] = []
    fit = context.fit

    def watching(model: Any, stage: Any, **rest: Any) -> Any:
        for update in range(stage.total_updates):
            rows = [row for batch in stage.windows.window(update).batches for row in batch.rows]
            met.extend(f"{stage.name} {stage.windows.origin(row)}" for row in rows)
        return fit(model, stage, **rest)

    monkeypatch.setattr(context, "fit", watching)
    run(speak({**KIND, "few_shot": [2], "languages": ["de"], "few_shot_updates": 3}))
    lines = {
        stage: {int(each.rpartition(" ")[2]) for each in met if each.startswith(f"{stage} ")}
        for stage in ("zero_shot", "de@2", "de@2-alone", "few_shot")
    }
    assert max(lines["zero_shot"]) <= 40, "English stands in the first 40 lines"
    assert len(lines["de@2"]) == 2 and min(lines["de@2"]) > 40
    assert lines["de@2"] == lines["de@2-alone"] == lines["few_shot"], "the same two rows"


def test_few_rows_start_from_the_sources_and_alone_from_the_base(speak: Speak) -> None:
    technique = {**KIND, "few_shot": [2, 4], "languages": ["de", "fr"], "few_shot_updates": 2, "few_shot_draws": 2}
    artifact = run(speak(technique, evaluation={"max_rows": 3, "max_new_tokens": 4, "retention": False}))
    starts = {stage.name: stage.starts_from for stage in artifact.lineage.stages}
    few = {
        few_shot_name(language, rows, draw, alone=alone): BEFORE if alone else "zero_shot"
        for draw in (0, 1)
        for rows in (2, 4)
        for language in ("de", "fr")
        for alone in (False, True)
    }
    assert starts == {"zero_shot": BEFORE, **few, "few_shot": "zero_shot"}
    assert artifact.lineage.saved == ("zero_shot", "few_shot")
    assert artifact.scorecard.score("de@2", "de") and not artifact.scorecard.score("de@2", "fr")
    assert all(artifact.scorecard.score("few_shot", name) for name in ("en", "de", "fr"))
    because = {claim["claim"]: claim["because"] for claim in artifact.claims}
    assert "2 rows" in because["few rows of a language add to transfer without any"]
    assert "4 rows" in because["few rows after the source languages beat the same rows alone"]
    assert "de@4.2" in (artifact.folder / "README.md").read_text(), "the card has the matrix"


def test_few_rows_may_have_a_rate_of_their_own(speak: Speak) -> None:
    technique = {**KIND, "languages": ["de"], "few_shot": [2], "few_shot_updates": 3, "few_shot_learning_rate": 1e-4}
    recipe = opened(speak(technique))
    made = Run(open_world(recipe), folder=Path(recipe.output), runtime=open_runtime(recipe.runtime), log=Log(None))
    found = {stage.name: stage.learning_rate for stage in plan(made, TECHNIQUE.require_fit(recipe)).stages}
    assert found == {"zero_shot": 1e-2, "de@2": 1e-4, "de@2-alone": 1e-4, "few_shot": 1e-4}


def test_several_sources_are_smoothed(speak: Speak) -> None:
    artifact = run(speak({**KIND, "source": ["en", "de"], "smoothing": 1.0}, optim={"max_updates": 2}))
    sizes = [len(open_rows(str(artifact.recipe.data.tasks["en"].train)))]
    assert sizes
    shares = artifact.facts["reported"]["share of the rows"]
    smoothed = run(speak({**KIND, "source": ["en", "de"]}, optim={"max_updates": 2})).facts["reported"]
    ratio = shares["en"] / shares["de"]
    # p ∝ size ** 0.5, so the ratio is its root; three decimals are told
    assert smoothed["share of the rows"]["en"] / smoothed["share of the rows"]["de"] == pytest.approx(
        ratio**0.5, rel=0.01
    )


def test_languages_may_be_named_as_tasks(speak: Speak, spoken_file: Path, rows_file: Path) -> None:
    data = {"test_share": 0.2, "tasks": {"en": str(rows_file), "de": str(rows_file)}}
    artifact = run(speak({"kind": "cross_lingual"}, data=data, optim={"max_updates": 1}))
    assert artifact.scorecard.tasks == ("en", "de")


def test_the_resolved_recipe_runs_as_it_is(speak: Speak, tmp_path: Path) -> None:
    first = run(speak(KIND, optim={"max_updates": 1}))
    again = run(first.recipe.model_copy(update={"output": str(tmp_path / "again")}))
    assert again.generations == first.generations


def test_language_adapters_are_exchanged_under_the_tasks(speak: Speak, tmp_path: Path) -> None:
    texts = {}
    for language, word in (("en", "lamp"), ("de", "lampe")):
        path = tmp_path / f"{language}.txt"
        path.write_text("\n\n".join(f"{word} {number} {COLOURS[number % 8]}" for number in range(30)))
        texts[language] = str(path)
    technique = {**KIND, "languages": ["de", "fr"], "language_text": texts, "few_shot": [2], "few_shot_updates": 2}
    artifact = run(speak(technique, tuner=BOTTLENECK, optim={"max_updates": 4, "learning_rate": 1e-2}))
    names = [stage.name for stage in artifact.lineage.stages]
    assert names[:3] == ["text-en", "text-de", "zero_shot"]
    assert artifact.facts["tasks"]["de"]["answered_by"] == {"stack": ["lang-de", "task"]}
    assert artifact.facts["tasks"]["fr"]["answered_by"] == "task"
    early, late = (artifact.scorecard.score(stage, "text-de") for stage in ("text-de", "few_shot"))
    assert early is not None and late is not None and early.measures == late.measures, "the language's adapter stayed"
    for task in ("en", "de", "fr"):
        kept = [row for row in artifact.generations if row["task"] == task]
        prompts = [row["prompt"] for row in kept]
        lines = predict_rows(
            artifact.folder, prompts=prompts, data=None, out=None, max_new_tokens=6, base=None, task=task
        )
        assert [json.loads(line)["response"] for line in lines] == [row["after"] for row in kept], task


def test_language_adapters_may_come_from_other_runs(speak: Speak, tmp_path: Path) -> None:
    folders = {}
    for language in ("en", "de"):
        path = tmp_path / f"{language}.txt"
        path.write_text("\n\n".join(f"{WORDS[language]} {number} {COLOURS[number % 8]}" for number in range(30)))
        data = {"train": str(path), "test_share": 0.2}
        made = run(speak({"kind": "adapters"}, data=data, tuner=BOTTLENECK, optim={"max_updates": 2}))
        folders[language] = str(made.folder)
    technique = {**KIND, "languages": ["de"], "language_adapters": folders}
    recipe = speak(technique, tuner=BOTTLENECK, optim={"max_updates": 2})
    artifact = run(recipe)
    assert artifact.facts["tasks"]["en"]["answered_by"] == {"stack": ["lang-en", "task"]}
    assert artifact.cost.trainable_parameters == made.cost.trainable_parameters, "those of other runs do not train"
    shutil.rmtree(folders["de"])
    shutil.copytree(folders["en"], folders["de"])
    with pytest.raises(UserError, match="adapter of de"):
        run(recipe)


@pytest.mark.parametrize(
    ("technique", "error", "told"),
    [
        ({"source": ["eng"]}, DataError, r"(?s)spoken.jsonl: no row in 'eng'.*did you mean 'en'"),
        ({"languages": ["de", "tlh"]}, DataError, r"no row in 'tlh'"),
        ({"language_column": "lang"}, DataError, r"(?s)line 1: no column 'lang'.*did you mean 'language'"),
        ({"languages": ["en"]}, RecipeError, r"no second language: en would be trained"),
        ({"source": []}, RecipeError, r"no language to train"),
        ({"language_adapters": {"dee": "x"}}, RecipeError, r"tuner.kind: language adapters lie under bottleneck"),
        ({"few_shot": [3, 3]}, RecipeError, r"technique.few_shot: a number of rows is named twice"),
        ({"few_shot": [0]}, RecipeError, r"technique.few_shot.0: found 0"),
        ({"smoothing": 2}, RecipeError, r"technique.smoothing: found 2"),
    ],
)
def test_what_does_not_fit_is_refused(
    technique: dict[str, Any], error: type[UserError], told: str, speak: Speak
) -> None:
    with pytest.raises(error, match=told):
        run(speak({**KIND, **technique}))


@pytest.mark.parametrize(
    ("technique", "is_mixed"),
    [
        ({"few_shot": [2]}, True),
        ({"few_shot": [2], "languages": ["de"]}, False),
        ({"source": ["en", "de"]}, True),
        ({}, False),
    ],
)
def test_stepping_in_the_backward_pass_is_refused_only_where_languages_are_mixed(
    technique: dict[str, Any], is_mixed: bool, speak: Speak
) -> None:
    optim = {"in_backward": True, "max_gradient_norm": None}
    recipe = speak({**KIND, **technique}, tuner={"kind": "full"}, optim=optim)
    refused = pytest.raises(UserError, match="its rows are of several languages")
    with refused if is_mixed else nullcontext():
        open_recipe(recipe)


@pytest.mark.parametrize(
    ("technique", "told"),
    [
        ({"few_shot": [500]}, r"(?s)language de: \d+ training rows.*at least 500.*do: set technique.few_shot to \d+"),
        (
            {"language_adapters": {"en": "nowhere", "de": "also nowhere"}},
            r"(?s)language_adapters.en: nowhere: no adapters.json.*do: check.*language_adapters.de: also nowhere: no",
        ),
    ],
)
def test_rows_and_adapters_that_are_not_there_are_refused_before_anything_is_scored(
    technique: dict[str, Any],
    told: str,
    speak: Speak,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Run, "score", lambda *given: pytest.fail("nothing is scored"))
    recipe = speak({**KIND, **technique}, tuner=BOTTLENECK)
    with pytest.raises(UserError, match=told):
        run(recipe)
    capsys.readouterr()
    with pytest.raises(UserError, match=told):
        show_check(recipe, trial=False)
    assert "Rows" not in capsys.readouterr().out, "nor is anything shown"


@pytest.mark.parametrize(
    ("technique", "told"),
    [
        ({"language_adapters": {"dee": "x", "en": "y"}}, r"(?s)technique.language_adapters: no language 'dee'.*'de'"),
        ({"language_adapters": {"de": "x"}}, r"technique.language_adapters: en has none, and is trained"),
        (
            {"language_adapters": {"en": "x"}, "language_text": {"en": "y"}},
            r"language_text: en has an adapter and text",
        ),
        ({"source": ["dee"]}, r"(?s)technique.source: no language 'dee'.*did you mean 'de'"),
        ({"language_column": "language"}, r"technique.language_column: data.tasks are named too"),
        ({"languages": ["de"]}, r"technique.languages: they are chosen from a column"),
    ],
)
def test_what_does_not_fit_tasks_is_refused(
    technique: dict[str, Any], told: str, speak: Speak, rows_file: Path
) -> None:
    data = {"tasks": {"en": str(rows_file), "de": str(rows_file)}}
    recipe = speak({"kind": "cross_lingual", **technique}, data=data, tuner=BOTTLENECK)
    with pytest.raises(RecipeError, match=told):
        opened(recipe)


def test_one_language_is_refused(speak: Speak) -> None:
    with pytest.raises(RecipeError, match=r"technique.language_column: no second language"):
        opened(speak({"kind": "cross_lingual"}))


def test_fertility_counts_tokens_over_words_and_characters(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "ab cd", "completion": "灯"}\n', encoding="utf-8")
    found = fertility(open_rows(str(path)), byte_tokenizer())
    # bytes are tokens: 5 and 3 of them, in 2 + 1 words of 5 + 1 characters
    assert (found.tokens_a_word, found.tokens_a_character) == (8 / 3, 8 / 6)


def evidence(zero: float, few: float, alone: float, floor: float, *, rows: int = 100) -> Evidence:
    card = Scorecard()
    for stage, value in (("zero_shot", zero), ("de@5", few), ("de@5-alone", alone)):
        items = tuple(float(number < rows * value) for number in range(rows))
        card = card.add(Score(stage, "de", {"exact_match": Measure("exact_match", "share", True, items)}))
    stages = [Ancestor("zero_shot", ("en",), BEFORE, "lora", "", "")]
    stages += [Ancestor(name, ("de",), "zero_shot", "lora", "", "") for name in ("de@5", "de@5-alone")]
    lineage = Lineage(tuple(stages), ("zero_shot",))
    return Evidence(card, Cost(1, 1, 1, 1, 1, 1, 1, 1, 1), lineage, {COMMONEST: {"en": 0.1, "de": floor}})


@pytest.mark.parametrize(
    ("values", "outcomes"),
    [
        ((0.6, 0.8, 0.4, 0.3), ("held", "held", "held")),
        ((0.6, 0.4, 0.7, 0.9), ("not held here", "not held here", "not held here")),
        ((0.6, 0.6, 0.6, 0.6), ("unclear", "unclear", "unclear")),
    ],
)
def test_claims_follow_from_the_scores(values: tuple[float, ...], outcomes: tuple[str, ...]) -> None:
    found = evidence(*values)
    claims = (transfers_zero_shot(source=""), few_rows_add(source=""), better_than_alone(source=""))
    assert tuple(claim.judge(found).outcome for claim in claims) == outcomes


def test_check_tells_fertility_before_training(desk: Desk, spoken_file: Path) -> None:
    technique = {**KIND, "few_shot": [2]}
    done = desk.tenfold("check", desk.recipe(technique=technique, data={"train": "spoken.jsonl"}), "--no-trial")
    assert done.code == 0, done.text
    assert "zh-CN: " in done.out and "tokens a word" in done.out and "de@2-alone" in done.out


@pytest.fixture
def labelled_file(tmp_path: Path) -> Path:
    """Two languages of three labels; German has a fourth that no English row has."""
    path = tmp_path / "labelled.jsonl"
    rows = [
        {"text": f"{word} {number} {colour}", "label": colour, "language": language}
        for language, word in (("en", "lamp"), ("de", "lampe"))
        for number in range(40)
        for colour in [COLOURS[number % (3 if language == "en" else 4)]]
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_check_tells_rows_that_are_left_out_and_shows_no_marks_of_labels(
    desk: Desk, labelled_file: Path, encoder_folder: Path
) -> None:
    recipe = desk.recipe(technique=KIND, data={"train": "labelled.jsonl"}, model={"name": str(encoder_folder)})
    told = desk.tenfold("check", recipe, "--no-trial").out
    assert f"de: left out 10 rows ({COLOURS[3]} 10), whose label no training row of en has" in told
    assert "→ " in told and "in the loss\n" not in told and "⟦" not in told


def test_languages_in_files_of_their_own_share_one_head_too(
    desk: Desk, labelled_file: Path, encoder_folder: Path
) -> None:
    rows = [json.loads(line) for line in labelled_file.read_text(encoding="utf-8").splitlines()]
    for name in ("en", "de"):
        own = [json.dumps({**row, "language": None}) + "\n" for row in rows if row["language"] == name]
        desk.write(f"{name}.jsonl", "".join(own))
    data = {"train": None, "tasks": {"de": "de.jsonl", "en": "en.jsonl"}, "test_share": 0.25}
    model = {"name": str(encoder_folder)}
    recipe = opened(parse_recipe({**desk.tree, "technique": {"kind": "cross_lingual", "source": ["en"]}, "data": data}))
    assert {name: (task.head, task.labels) for name, task in recipe.tasks.items()} == {
        "de": ("en", tuple(sorted(COLOURS[:3]))),
        "en": (None, tuple(sorted(COLOURS[:3]))),
    }
    done = desk.tenfold(
        "run", desk.recipe(technique={"kind": "cross_lingual", "source": ["en"]}, data=data, model=model)
    )
    assert done.code == 0, done.text
    heads = load_file(desk.folder / "out" / "adapter" / "heads.safetensors")
    assert all("for_en" in name for name in heads) and heads
    assert f"de 10 rows ({COLOURS[3]} 10)" in done.out


def test_claims_of_fewer_rows_than_can_tell_are_unclear() -> None:
    found = evidence(0.6, 0.8, 0.4, 0.3, rows=5)
    claims = (transfers_zero_shot(source=""), few_rows_add(source=""), better_than_alone(source=""))
    verdicts = [claim.judge(found) for claim in claims]
    assert [verdict.outcome for verdict in verdicts] == ["unclear"] * 3
    assert all("too few test rows to tell" in verdict.because for verdict in verdicts)


@pytest.mark.parametrize("tuner", [BOTTLENECK, {"kind": "lora", "rank": 2}], ids=["bottleneck", "lora"])
def test_an_encoders_languages_share_one_head(
    tuner: dict[str, Any], speak: Speak, labelled_file: Path, encoder_folder: Path
) -> None:
    data = {"train": str(labelled_file), "test_share": 0.25}
    technique = {**KIND, "few_shot": [4], "few_shot_updates": 2}
    artifact = run(speak(technique, data=data, tuner=tuner, model={"name": str(encoder_folder)}))
    left_out = artifact.facts["reported"]["left out: labels that the source lacks"]
    assert left_out == {"de": f"10 rows ({COLOURS[3]} 10)"}, "German has 40 rows of four labels"
    heads = load_file(artifact.weights / "heads.safetensors")
    assert all("for_en" in name for name in heads) and heads, "one head, that of the first language"
    assert artifact.recipe.tasks["de"].labels == tuple(sorted(COLOURS[:3]))
    assert artifact.facts["tasks"]["de"]["labels"]["names"] == artifact.facts["tasks"]["en"]["labels"]["names"]
    for task in ("en", "de"):
        kept = [row for row in artifact.generations if row["task"] == task]
        assert COLOURS[3] not in {row["reference"] for row in kept}, "rows of labels that English lacks are left out"
        lines = predict_rows(
            artifact.folder,
            prompts=[row["prompt"] for row in kept],
            data=None,
            out=None,
            max_new_tokens=None,
            base=None,
            task=task,
        )
        assert [json.loads(line)["label"] for line in lines] == [row["after"] for row in kept]


@pytest.mark.parametrize(
    ("head", "told"),
    [("eng", r"(?s)data.tasks.de.head: 'eng' is no task with a head.*did you mean 'en'"), ("de", "is no task with")],
)
def test_a_head_is_shared_with_a_task_of_the_same_labels(
    head: str, told: str, speak: Speak, labelled_file: Path, encoder_folder: Path
) -> None:
    tasks = {
        name: {"train": str(labelled_file), "where": {"language": [name]}, "test_share": 0.25} for name in ("en", "de")
    }
    tasks["de"]["head"] = head
    recipe = speak({"kind": "multi_task"}, data={"tasks": tasks}, model={"name": str(encoder_folder)})
    with pytest.raises(RecipeError, match=told):
        run(recipe)


def test_a_head_of_other_labels_is_not_shared(speak: Speak, labelled_file: Path, encoder_folder: Path) -> None:
    tasks: dict[str, Any] = {
        name: {"train": str(labelled_file), "where": {"language": [name]}, "test_share": 0.25} for name in ("en", "de")
    }
    tasks["de"]["head"] = "en"
    recipe = speak({"kind": "multi_task"}, data={"tasks": tasks}, model={"name": str(encoder_folder)})
    with pytest.raises(RecipeError, match="'en' is no task with a head of its own for the same labels"):
        run(recipe)


@pytest.fixture
def multilingual_folder(tmp_path: Path) -> str:
    """A tiny XLM-R in a folder that also holds its masked-LM head."""
    tokenizer, folder = framed_tokenizer(), tmp_path / "tiny-xlm-r"
    tiny_masked_lm("xlm-roberta", vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def texts(tmp_path: Path) -> dict[str, str]:
    """A file of raw text for each of two languages."""
    files = {}
    for language in ("en", "de"):
        path = tmp_path / f"{language}.txt"
        path.write_text(
            "\n\n".join(f"{WORDS[language]} {number} is of colour {COLOURS[number % 8]}" for number in range(60))
        )
        files[language] = str(path)
    return files


@pytest.mark.parametrize("has_head", [True, False])
def test_an_encoders_language_adapters_learn_from_masked_words(
    has_head: bool,
    speak: Speak,
    labelled_file: Path,
    multilingual_folder: str,
    encoder_folder: Path,
    texts: dict[str, str],
    tmp_path: Path,
) -> None:
    technique = {**KIND, "language_text": texts, "few_shot": [4], "few_shot_updates": 2}
    recipe = speak(
        technique,
        data={"train": str(labelled_file), "test_share": 0.25},
        tuner=BOTTLENECK,
        model={"name": multilingual_folder if has_head else str(encoder_folder)},
        optim={"batch_size": 8, "max_updates": 30, "epochs": 10, "learning_rate": 1e-2, "head_learning_rate": 1e-2},
    )
    artifact = run(recipe)
    names = [stage.name for stage in artifact.lineage.stages]
    assert names[:3] == ["text-en", "text-de", "zero_shot"]
    card = artifact.scorecard
    for language in ("en", "de"):
        before, after, late = (
            card.score(stage, f"text-{language}") for stage in (BEFORE, f"text-{language}", "few_shot")
        )
        assert before is not None and after is not None and late is not None
        assert after.primary.name == "masked_loss"
        assert after.primary.value < before.primary.value - 0.5, "held-out text of the language is told better"
        assert late.measures == after.measures, "the language's adapter stayed, and the layer that tells its words"
    assert artifact.facts["tasks"]["de"]["answered_by"] == {"stack": ["lang-de", "task"]}
    tested = open_world(artifact.recipe).tasks["text-de"].test
    assert tested is not None
    path = tmp_path / "tested.jsonl"
    path.write_text("".join(json.dumps({"text": tested.rows.example(row).text}) + "\n" for row in range(len(tested))))  # type: ignore[union-attr]
    scored = card.score("few_shot", "text-de")
    assert scored is not None
    found = evaluate_rows(artifact.folder, data=str(path), max_rows=scored.primary.num_items, base=None, task="text-de")
    assert found.primary.value == pytest.approx(scored.primary.value, rel=1e-4), "by its own head and adapter"
    heads = load_file(artifact.weights / "heads.safetensors")
    assert {name.partition(".")[0] for name in heads} == {"for_en", "for_text-en", "for_text-de"}
    own = open_masked_head(outline(Path(multilingual_folder)))
    assert torch.equal(heads["for_text-de.dense.weight"], own.dense.weight) == has_head, "what came with it stays"
    notes = " ".join(json.loads((artifact.folder / "provenance.json").read_text())["notes"])
    assert ("layer that the checkpoint holds" in notes) == has_head
    kept = [row for row in artifact.generations if row["task"] == "de"]
    prompts = [row["prompt"] for row in kept]
    lines = predict_rows(
        artifact.folder, prompts=prompts, data=None, out=None, max_new_tokens=None, base=None, task="de"
    )
    assert [json.loads(line)["label"] for line in lines] == [row["after"] for row in kept]


def test_stopped_while_an_encoder_learns_a_language_it_ends_with_the_same_bits(
    speak: Speak, labelled_file: Path, multilingual_folder: str, texts: dict[str, str], tmp_path: Path
) -> None:
    technique = {**KIND, "language_text": texts, "few_shot": [4], "few_shot_updates": 2, "compare_alone": False}
    recipe = speak(
        technique,
        data={"train": str(labelled_file), "test_share": 0.25},
        tuner={**BOTTLENECK, "dropout": 0.2},
        model={"name": multilingual_folder},
        optim={"batch_size": 8, "max_updates": 4, "learning_rate": 1e-2},
    )
    check_technique(recipe, tmp_path / "runs")


def test_an_encoders_language_adapters_may_come_from_other_runs(
    speak: Speak, labelled_file: Path, multilingual_folder: str, texts: dict[str, str]
) -> None:
    model, folders = {"name": multilingual_folder}, {}
    for language, path in texts.items():
        data = {"train": path, "test_share": 0.2}
        made = run(speak({"kind": "adapters"}, data=data, tuner=BOTTLENECK, optim={"max_updates": 2}, model=model))
        folders[language] = str(made.folder)
    technique = {**KIND, "language_adapters": folders}
    data = {"train": str(labelled_file), "test_share": 0.25}
    artifact = run(speak(technique, data=data, tuner=BOTTLENECK, optim={"max_updates": 2}, model=model))
    assert artifact.facts["tasks"]["de"]["answered_by"] == {"stack": ["lang-de", "task"]}
    assert all("for_en" in name for name in load_file(artifact.weights / "heads.safetensors"))
