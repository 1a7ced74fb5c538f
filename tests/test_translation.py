"""Translation from a recipe: a decoder is asked in words, an encoder-decoder is given the text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForSeq2SeqLM

from tenfold.answering import evaluate_rows, predict_rows
from tenfold.artifact import Artifact
from tenfold.data.render import Renderer
from tenfold.data.sources import open_rows
from tenfold.errors import DataError, RecipeError, UserError
from tenfold.models.load import load_tokenizer
from tenfold.recipe import DataSection, Recipe, parse_recipe
from tenfold.running import run
from tests.command import Desk
from tests.test_speech import losses, speech_settings, stopping_after
from tests.tiny_sources import save_encoder_decoder, save_whisper, write_translations
from tests.tiny_tokenizers import byte_tokenizer

Settings = dict[str, Any]


@pytest.fixture
def t5(tmp_path: Path) -> Path:
    return save_encoder_decoder(tmp_path / "t5")


def translating(settings: Settings, tmp_path: Path, model: Path | None = None, **changes: Any) -> Settings:
    tree = {
        **settings,
        "data": {"train": str(write_translations(tmp_path)), "test_share": 0.2},
        "optim": {"batch_size": 8, "epochs": 100, "max_updates": 6, "learning_rate": 1e-2},
        "evaluation": {"max_rows": 6, "max_new_tokens": 8},
    }
    if model is not None:
        tree["model"] = {"name": str(model)}
    for section, values in changes.items():
        tree[section] = values if section in ("tuner", "output") else {**tree.get(section, {}), **values}
    return tree


def predict(artifact: Artifact, **options: Any) -> list[Any]:
    given = {"prompts": [], "data": None, "out": None, "max_new_tokens": 8, "base": None, **options}
    return [json.loads(line) for line in predict_rows(artifact.folder, **given)]


@pytest.mark.parametrize(
    "tuner", [{"kind": "lora", "rank": 8}, {"kind": "full"}, {"kind": "partial", "modules": ["decoder"]}]
)
@pytest.mark.parametrize("family", ["t5", "bart", "marian"])
def test_an_encoder_decoder_learns_and_its_artifact_answers_as_it_did(
    family: str, tuner: Settings, settings: Settings, tmp_path: Path
) -> None:
    folder = save_encoder_decoder(tmp_path / family, family)
    artifact = run(parse_recipe(translating(settings, tmp_path, folder, tuner=tuner, optim={"max_updates": 12})))
    curve = losses(artifact)
    assert sum(curve[-3:]) < 0.9 * sum(curve[:3])
    score = artifact.scorecard.score("instruction", "main")
    assert score is not None and list(score.measures)[:2] == ["chrf", "bleu"]
    assert "retention" not in artifact.scorecard.tasks
    assert artifact.facts["tasks"]["main"] == {
        "kind": "translation",
        "format": "translation",
        "head": None,
        "answered_by": None,
    }
    answers = predict(artifact, prompts=[line["prompt"] for line in artifact.generations])
    assert [line["response"] for line in answers] == [line["after"] for line in artifact.generations]
    assert {"source", "response"} <= set(answers[0])
    with_references = predict(artifact, data=str(tmp_path / "pairs.jsonl"))
    assert with_references[0]["source"] == "lamp 0 red" and with_references[0]["reference"] == "rot"
    assert evaluate_rows(artifact.folder, data=str(tmp_path / "pairs.jsonl"), max_rows=4, base=None).primary.items


def test_micro_batches_change_no_update(settings: Settings, t5: Path, tmp_path: Path) -> None:
    curves = []
    for name, tokens in (("one", 1), ("eight", 100_000)):
        changes: Settings = {"runtime": {"micro_batch_tokens": tokens}, "output": str(tmp_path / name)}
        changes["optim"] = {"learning_rate": 1e-3}
        curves.append(losses(run(parse_recipe(translating(settings, tmp_path, t5, **changes)))))
    # the same sums in another order; six updates let the difference grow
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)


def test_an_interrupted_run_ends_bit_for_bit_as_a_straight_one(
    settings: Settings, t5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for name in ("straight", "stopped"):
        monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / f"cache-{name}"))
        tuner = {"kind": "lora", "rank": 4, "dropout": 0.2}
        recipe = parse_recipe(translating(settings, tmp_path, t5, tuner=tuner, output=str(tmp_path / name)))
        if name == "stopped":
            stop = stopping_after(3)
            with pytest.raises(Exception, match="stopped after update 3"):
                run(recipe, listeners=(stop,), stop_asked=lambda stop=stop: stop.is_asked)
        artifact = run(recipe)
        found.append(((artifact.weights / "adapter_model.safetensors").read_bytes(), losses(artifact)))
    assert found[0] == found[1]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # PEFT reads the old name
@pytest.mark.parametrize("tuner", [{"kind": "lora", "rank": 4}, {"kind": "full"}], ids=["lora", "full"])
def test_plain_transformers_and_peft_open_what_was_saved(
    tuner: Settings, settings: Settings, t5: Path, tmp_path: Path
) -> None:
    artifact = run(parse_recipe(translating(settings, tmp_path, t5, tuner=tuner)))
    folder = artifact.weights if tuner["kind"] == "full" else t5
    plain = AutoModelForSeq2SeqLM.from_pretrained(folder, dtype=torch.float32)
    if tuner["kind"] == "lora":
        plain = PeftModel.from_pretrained(plain, artifact.weights)
        assert json.loads((artifact.weights / "adapter_config.json").read_text())["task_type"] == "SEQ_2_SEQ_LM"
    tokenizer = load_tokenizer(artifact.weights)
    for line in artifact.generations:
        ids = torch.tensor([tokenizer(line["prompt"])["input_ids"]])
        tokens = plain.generate(input_ids=ids, max_new_tokens=8, do_sample=False)
        assert tokenizer.decode(tokens[0], skip_special_tokens=True).strip() == line["after"]


@pytest.mark.parametrize("tuner", ["prompt", "prefix"])
def test_tokens_before_the_text_can_be_learned_too(tuner: str, settings: Settings, t5: Path, tmp_path: Path) -> None:
    recipe = parse_recipe(
        translating(settings, tmp_path, t5, tuner={"kind": tuner, "num_virtual_tokens": 4}, optim={"max_updates": 40})
    )
    artifact = run(recipe)
    curve = losses(artifact)
    assert sum(curve[-3:]) < sum(curve[:3])
    answers = predict(artifact, prompts=[line["prompt"] for line in artifact.generations])
    assert [line["response"] for line in answers] == [line["after"] for line in artifact.generations]


def test_an_encoder_decoder_learns_prompts_and_responses_as_well(
    settings: Settings, rows_file: Path, t5: Path, tmp_path: Path
) -> None:
    data = {"train": str(rows_file), "test_share": 0.2}
    tree = {**translating(settings, tmp_path, t5), "data": data}
    artifact = run(parse_recipe(tree))
    assert artifact.facts["tasks"]["main"]["kind"] == "generation"
    assert {"prompt", "response"} <= set(predict(artifact, prompts=["lamp 3 blue"])[0])


def test_a_decoder_is_asked_in_words(settings: Settings, tmp_path: Path) -> None:
    recipe = parse_recipe(translating(settings, tmp_path, data={"language": "German"}))
    artifact = run(recipe)
    assert "Translate into German: lamp " in (artifact.folder / "preview.txt").read_text()
    assert artifact.facts["tasks"]["main"]["kind"] == "translation"
    answers = predict(artifact, prompts=[line["prompt"] for line in artifact.generations])
    assert [line["response"] for line in answers] == [line["after"] for line in artifact.generations]
    assert all(line["source"].startswith("lamp ") for line in answers), "the text alone, not the instruction"


@pytest.mark.parametrize(
    ("section", "language", "expected"),
    [
        ({"language": "German"}, None, "Translate into German: a {b} c"),
        ({"language": "German"}, "Swiss German", "Translate into Swiss German: a {b} c"),
        ({"prompt": "{source} (in {language}, from {source_language}):", "source_language": "English"}, "Welsh",
         "a {b} c (in Welsh, from English):"),
        ({"prompt": "Übersetze: {source}"}, None, "Übersetze: a {b} c"),
    ],
)  # fmt: skip
def test_the_prompt_is_the_recipes(section: Settings, language: str | None, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"source": "a {b} c", "target": "x", "language": language}) + "\n")
    renderer = Renderer(byte_tokenizer(), DataSection(train="unused", **section))
    shown = renderer.tokenizer.decode(renderer.ask(open_rows(str(path)).example(0)).input_ids)
    assert shown == f"<|im_start|>user\n{expected}<|im_end|>\n<|im_start|>assistant\n"


def refused(recipe: Recipe, *told: str) -> None:
    with pytest.raises(UserError) as error:
        run(recipe)
    for text in told:
        assert text in str(error.value), str(error.value)


def test_a_prompt_without_its_language_is_refused_with_the_row(settings: Settings, tmp_path: Path) -> None:
    recipe = parse_recipe(translating(settings, tmp_path))
    refused(recipe, "pairs.jsonl, line 1", "nothing says which it is", "set data.language, add a column language")
    artifact = run(parse_recipe(translating(settings, tmp_path, data={"language": "German"})))
    assert artifact.recipe.data.language == "German"


@pytest.mark.parametrize("prompt", ["Translate!", "{source} {source}", "{text}"])
def test_a_prompt_holds_the_source_once(prompt: str) -> None:
    with pytest.raises(RecipeError, match="must stand in it once"):
        parse_recipe({"data": {"prompt": prompt}})


def test_settings_that_nothing_would_read_are_refused(settings: Settings, t5: Path, tmp_path: Path) -> None:
    for name, value in (("prompt", "{source}"), ("language", "German"), ("source_language", "English")):
        recipe = parse_recipe({**settings, "data": {**settings["data"], name: value}})
        refused(recipe, f"data.{name}", "would be read by nothing")
    text = tmp_path / "text.jsonl"
    text.write_text('{"text": "a b c"}\n{"text": "d e f"}\n' * 3)
    refused(parse_recipe(translating(settings, tmp_path, t5, data={"train": str(text)})), "rows of format text")


def test_several_replies_in_a_row_are_refused(settings: Settings, t5: Path, tmp_path: Path) -> None:
    path = tmp_path / "talks.jsonl"
    turns = [{"role": role, "content": "a"} for role in ("user", "assistant", "user", "assistant")]
    path.write_text("".join(json.dumps({"messages": turns, "number": n}) + "\n" for n in range(4)))
    data = {"train": str(path), "group_by": "number"}
    recipe = parse_recipe(translating(settings, tmp_path, t5, data=data, gate={"allow": ["overlap"]}))
    refused(recipe, "several replies are to be learned", "data.train_on: last")


def test_a_source_that_is_cut_is_counted_by_the_gate(settings: Settings, t5: Path, tmp_path: Path) -> None:
    refused(parse_recipe(translating(settings, tmp_path, t5, data={"max_length": 5})), "truncation")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"source": " ", "target": "x"}, "'source' is empty"),
        ({"source": "a", "target": ""}, "the response is empty"),
        ({"source": 3, "target": "x"}, "column 'source' is a number, not text"),
        ({"source": "a", "target": "x", "language": 3}, "column 'language' is a number, not text"),
    ],
)
def test_rows_without_text_are_refused(row: Settings, told: str, settings: Settings, t5: Path, tmp_path: Path) -> None:
    tree = translating(settings, tmp_path, t5)
    with (tmp_path / "pairs.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    refused(parse_recipe(tree), "pairs.jsonl, line 49", told)


@pytest.mark.parametrize(
    ("row", "format"),
    [
        ({"audio": "a.wav", "text": "b"}, "speech"),
        ({"text": "b", "clip": 3}, "text"),
        ({"source": "a", "target": "b"}, "translation"),
        ({"source": "a", "target": "b", "language": "de"}, "translation"),
    ],
)
def test_the_format_is_told_by_the_columns(row: Settings, format: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    assert open_rows(str(path)).format == format


def test_columns_that_fit_two_formats_that_do_not_contain_each_other_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"source": "a", "target": "b", "text": "c"}) + "\n")
    with pytest.raises(DataError, match="fit more than one format"):
        open_rows(str(path))


@pytest.mark.parametrize("is_speech", [False, True], ids=["text", "speech"])
def test_chat_needs_a_decoder_and_is_recommended_only_there(
    is_speech: bool, settings: Settings, t5: Path, tmp_path: Path, desk: Desk
) -> None:
    if is_speech:
        run(parse_recipe(speech_settings(tmp_path, save_whisper(tmp_path / "whisper"))))
    else:
        run(parse_recipe(translating(settings, tmp_path, t5)))
    done = desk.tenfold("chat", str(tmp_path / "out"))
    assert done.code == 2 and "use `tenfold predict`" in done.err
    shown = desk.tenfold("show", str(tmp_path / "out")).out
    assert "tenfold predict" in shown and "tenfold chat" not in shown


def test_chat_asks_for_each_text_by_itself_as_the_rows_were_asked(
    settings: Settings, tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = run(parse_recipe(translating(settings, tmp_path, data={"language": "German"})))
    tokenizer, asked = load_tokenizer(artifact.weights), []

    def stream(network: object, its: object, prompt: list[int], **options: object) -> Iterator[str]:
        asked.append(tokenizer.decode(prompt))
        yield "rot"

    monkeypatch.setattr("tenfold.terminal.chat.stream", stream)
    said = "lamp 0\nlamp 1\n\n"
    assert desk.tenfold("chat", str(artifact.folder), stdin=said).code == 0
    turn = "<|im_start|>user\nTranslate into German: lamp {}<|im_end|>\n<|im_start|>assistant\n"
    assert asked == [turn.format(0), turn.format(1)]
    assert desk.tenfold("chat", str(artifact.folder), "--system", "Be brief.", stdin=said).code == 0
    assert asked[-1] == "<|im_start|>system\nBe brief.<|im_end|>\n" + turn.format(1)
    assert "tenfold chat" in desk.tenfold("show", str(artifact.folder)).out


@pytest.mark.parametrize(("name", "value"), [("template", "plain"), ("chat_template", "{{ messages }}")])
def test_a_template_that_an_encoder_would_not_read_is_refused(
    name: str, value: str, settings: Settings, t5: Path, tmp_path: Path
) -> None:
    refused(parse_recipe(translating(settings, tmp_path, t5, data={name: value})), f"data.{name}: would be read by no")


def test_chat_says_where_nothing_names_the_language(settings: Settings, tmp_path: Path, desk: Desk) -> None:
    tree = translating(settings, tmp_path)
    write_translations(tmp_path, language="German")
    done = desk.tenfold("chat", str(run(parse_recipe(tree)).folder), stdin="lamp 0\n\n")
    assert done.code == 2 and "the prompt names {language}, and nothing says which it is" in done.err
