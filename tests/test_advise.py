"""`tenfold advise` as a user gives it: every format, the commands it prints, and what it refuses."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tenfold.compare.advise import Advice
from tenfold.compare.facts import ROWS_MEASURED, ROWS_READ
from tenfold.engine.runtime import read_machine
from tenfold.models.architecture import family_of
from tenfold.models.headers import count_tokens, read_headers, said_family
from tenfold.models.load import load_tokenizer, outline
from tenfold.models.sources import resolve_headers
from tenfold.recipe import ModelSection
from tenfold.techniques.technique import BUILTIN
from tenfold.terminal import advise_view
from tests.command import Desk, Done, fits
from tests.tiny_models import FAMILIES, tiny_model
from tests.tiny_sources import save_ctc, save_encoder_decoder, save_whisper

PRIOR = "A prior by rules, not a measurement: nothing was trained."
KINDS = ("lamp", "door", "fan")

Row = Callable[[int], dict[str, Any]]

ROWS: dict[str, tuple[Row, str]] = {
    "messages": (
        lambda n: {"messages": [{"role": "user", "content": f"a {n}"}, {"role": "assistant", "content": f"b {n}"}]},
        "parameter_efficient, then instruction",
    ),
    "sharegpt": (
        lambda n: {"conversations": [{"from": "human", "value": f"a {n}"}, {"from": "gpt", "value": f"b {n}"}]},
        "parameter_efficient, then instruction",
    ),
    "alpaca": (
        lambda n: {"instruction": f"Say {n}.", "output": f"{n}"},
        "parameter_efficient, then instruction",
    ),
    "prompt_completion": (
        lambda n: {"prompt": f"a {n}", "completion": f"b {n}"},
        "parameter_efficient, then instruction",
    ),
    "text": (lambda n: {"text": f"lamp {n} is red"}, "instruction, then parameter_efficient"),
    "translation": (
        lambda n: {"source": f"a {n}", "target": f"b {n}", "language": "French"},
        "transfer, then parameter_efficient",
    ),
    "classification": (lambda n: {"text": f"a {n}", "label": KINDS[n % 3]}, "feature_based, then transfer"),
    "multi_label": (lambda n: {"text": f"a {n}", "labels": [KINDS[n % 3], "any"]}, "feature_based, then transfer"),
    "regression": (lambda n: {"text": f"a {n}", "target": n / 2}, "parameter_efficient, then task_specific"),
    "tags": (lambda n: {"tokens": ["a", str(n)], "tags": ["O", "N"]}, "parameter_efficient, then task_specific"),
    "span": (
        lambda n: {"question": f"which {n}?", "context": f"it is {n}", "answer": f"{n}"},
        "parameter_efficient, then task_specific",
    ),
}


def write(desk: Desk, name: str, row: Row, count: int = 60) -> str:
    return desk.write(name, "".join(json.dumps(row(number)) + "\n" for number in range(count)))


def advised(desk: Desk, *data: str, model: str = "tiny-llama") -> Done:
    given = [part for name in data for part in ("--data", name)]
    told = desk.tenfold("advise", *given, "--model", model)
    assert told.code == 0, told.text
    assert PRIOR in told.out.splitlines()
    return told


def printed(told: Done) -> list[list[str]]:
    """Return the commands that were printed, as the shell parts them."""
    joined = told.out.replace("&& \\\n", "\n")
    return [shlex.split(line)[1:] for line in joined.splitlines() if line.startswith("tenfold ")]


@pytest.mark.parametrize("format", ROWS)
def test_rows_of_every_format_are_told_what_to_try_first(desk: Desk, format: str) -> None:
    row, first = ROWS[format]
    told = advised(desk, write(desk, "own.jsonl", row))
    assert f"own: 60 rows of format {format}\n" in told.out
    assert f"Try first: {first}." in told.out
    commands = [line for line in told.out.splitlines() if line.startswith("tenfold ")]
    assert fits("\n".join(line for line in told.out.splitlines() if line not in commands), desk.folder)
    assert not any(line.endswith(" ") for line in told.out.splitlines())


def test_clips_are_told_what_to_try_first(desk: Desk) -> None:
    save_whisper(desk.folder / "ear")
    told = advised(desk, write(desk, "own.jsonl", lambda n: {"audio": f"{n}.wav", "text": f"dad {n}"}), model="ear")
    assert "Try first: transfer, then parameter_efficient." in told.out
    assert "a clip counted as 30 seconds" in " ".join(told.out.split())
    assert "distillation: does not apply" in told.out


@pytest.mark.parametrize("format", ["prompt_completion", "classification", "text", "tags", "translation"])
def test_the_commands_it_prints_can_be_given(desk: Desk, format: str) -> None:
    told = advised(desk, write(desk, "own rows.jsonl", ROWS[format][0], 90))
    init, compare = printed(told)
    made = desk.tenfold(*init)
    assert made.code == 0, made.text
    planned = desk.tenfold(*compare, "--plan")
    assert planned.code == 0, planned.text
    assert "does not apply" not in planned.out, planned.out
    assert all(technique in planned.out for technique in compare[compare.index("--techniques") + 1].split(","))


def task_row(name: str, n: int) -> dict[str, Any]:
    return {"prompt": f"{name} {n}", "completion": f"{n % 3}"}


@pytest.mark.parametrize("names", [("ask", "tell"), ("en", "de")])
def test_several_tables_are_compared_as_they_are(desk: Desk, names: tuple[str, str]) -> None:
    files = [write(desk, f"{name}.jsonl", partial(task_row, name)) for name in names]
    told = advised(desk, *files)
    expected = ["cross_lingual", "multi_task"] if names == ("en", "de") else ["multi_task", "adapters"]
    assert f"Try first: {', then '.join(expected)}." in told.out
    init, compare = printed(told)
    assert desk.tenfold(*init).code == 0
    planned = desk.tenfold(*compare, "--plan")
    assert (planned.code, "does not apply" in planned.out) == (0, False), planned.text


@pytest.mark.parametrize("column", ["lang", "tongue"])
def test_a_column_of_languages_is_named_in_a_grid_file(desk: Desk, column: str) -> None:
    def row(n: int) -> dict[str, Any]:
        return {"text": f"{n} lamp", "label": KINDS[n % 2], column: "de" if n % 4 == 3 else "en"}

    write(desk, "own.jsonl", row, 200)
    mapped = () if column == "lang" else ("--columns", f"language={column}")
    told = desk.tenfold("advise", "--data", "own.jsonl", "--model", "tiny-llama", *mapped)
    assert f"{column}: 2 languages, most rows in en, de\n" in told.out
    assert "Try first: cross_lingual, then parameter_efficient." in told.out
    init, compare = printed(told)
    assert desk.tenfold(*init).code == 0
    desk.write("grid.yaml", told.out.partition("<<'END'\n")[2].partition("\nEND\n")[0])
    planned = desk.tenfold(*compare, "--plan")
    assert (planned.code, "does not apply" in planned.out) == (0, False), planned.text
    assert "cross_lingual" in planned.out and "parameter_efficient" in planned.out


def test_where_only_cross_lingual_is_left_it_is_run_by_itself_and_where_nothing_is_none(
    monkeypatch: pytest.MonkeyPatch, desk: Desk
) -> None:
    def advise(left: str) -> Done:
        monkeypatch.setattr(
            advise_view,
            "advise",
            lambda facts: [
                Advice(each, "possible" if each in (left, "distillation") else "does not apply", "it is so", "x")
                for each in BUILTIN
            ],
        )
        return advised(desk, write(desk, "own.jsonl", lambda n: {**task_row("a", n), "lang": ("en", "de")[n % 2]}))

    told = advise("cross_lingual")
    assert [command[:2] for command in printed(told)] == [["init", "cross_lingual"], ["run", "recipe.yaml"]]
    told = advise("")
    assert "Nothing can be begun with: see the reasons above." in told.out
    assert not printed(told)


def test_columns_are_mapped_and_a_recipe_that_is_there_is_left_alone(desk: Desk) -> None:
    write(desk, "own.jsonl", lambda n: {"question": f"a {n}", "reply": f"b {n}"})
    desk.write("recipe.yaml", "mine")
    mapped = ("--columns", "prompt=question", "--columns", "completion=reply")
    told = desk.tenfold("advise", "--data", "own.jsonl", "--model", "tiny-llama", *mapped)
    init, compare = printed(told)
    assert init[-2:] == ["--out", "recipe-2.yaml"]
    assert compare[1] == "recipe-2.yaml"
    assert desk.tenfold(*init).code == 0
    assert (desk.folder / "recipe.yaml").read_text() == "mine"


def test_of_many_rows_some_are_read_and_the_rest_is_told_from_them(desk: Desk) -> None:
    told = advised(desk, write(desk, "own.jsonl", ROWS["classification"][0], 2 * ROWS_READ))
    assert f"own: {2 * ROWS_READ:,} rows of format classification" in told.out
    assert "3 labels of 13,3" in told.out, "a third of all, not of those that were read"
    assert f"({ROWS_MEASURED} rows counted)" in told.out
    assert f"the rest is told from {ROWS_READ:,} rows, evenly spaced" in told.out


def test_labels_that_a_run_refuses_are_told(desk: Desk) -> None:
    rare = advised(
        desk, write(desk, "own.jsonl", lambda n: {"text": f"a {n}", "label": "rare" if n == 7 else KINDS[n % 3]})
    )
    assert "every run refuses labels of one row (1 here)" in rare.out
    assert "# Leave the rows out whose label has no other" in rare.out
    assert not any(line.endswith(" ") for line in rare.out.splitlines())
    one = advised(desk, write(desk, "one.jsonl", lambda n: {"text": f"a {n}", "label": "same"}))
    assert "nothing to tell apart" in one.out
    assert "refuses" not in advised(desk, write(desk, "fine.jsonl", ROWS["classification"][0])).out


def test_where_no_run_would_learn_nothing_is_suited_and_one_is_told_as_one(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = replace(read_machine(), cores=1)
    monkeypatch.setattr("tenfold.compare.facts.read_machine", lambda: machine)
    told = advised(desk, write(desk, "own.jsonl", lambda n: {"text": f"a {n}", "label": f"kind {n}"}, 5))
    assert "5 labels of 1 row each" in told.out and "\n1 core, " in told.out
    assert "No technique applies: in own, 5 of 5 labels have one row." in told.out
    assert "suited" not in told.out and not printed(told)
    recipe = desk.recipe(data={"train": "own.jsonl"}, technique="task_specific")
    assert "occurs in this training row only" in desk.tenfold("check", recipe).err


def test_where_a_split_would_leave_labels_alone_nothing_is_suited(desk: Desk) -> None:
    told = advised(desk, write(desk, "own.jsonl", lambda n: {"text": f"a {n}", "label": f"kind {n % 12}"}, 24))
    assert "labels of 2 or 3 rows (12 here) may keep 1 to train on, which is refused too" in told.out
    assert ": suited" not in told.out
    assert "Try first: feature_based, then parameter_efficient." in told.out


def test_rows_that_say_nothing_are_counted_and_none_that_do_is_refused(desk: Desk) -> None:
    told = advised(desk, write(desk, "own.jsonl", lambda n: {"prompt": "a", "completion": "b" if n % 3 else ""}))
    assert "20 of 60 rows say nothing to learn" in told.out
    refused = desk.tenfold(
        "advise",
        "--data",
        write(desk, "none.jsonl", lambda n: {"prompt": "a", "completion": ""}),
        "--model",
        "tiny-llama",
    )
    assert (refused.code, "none of 60 rows" in refused.err) == (2, True), refused.text


def test_rows_longer_than_the_model_reads_are_told(desk: Desk) -> None:
    long = advised(desk, write(desk, "own.jsonl", lambda n: {"prompt": "a" * 600, "completion": "b"}))
    assert "the model reads 512 tokens: set data.max_length" in long.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data", "none.jsonl", "--model", "tiny-llama"], "no such file or folder"),
        (["--data", "rows.jsonl", "--model", "./none"], "no folder ./none"),
        (["--data", "rows.jsonl", "--model", "rows.jsonl"], "is a file"),
        (["--data", "rows.jsonl", "--model", "tiny-llama", "--columns", "prompt"], "--columns"),
        (["--data", "rows.jsonl", "--data", "rows.jsonl", "--model", "tiny-llama"], "would both be the task 'rows'"),
        (["--data", "clips.jsonl", "--model", "tiny-llama"], "the model is of the family decoder"),
        (["--data", "odd.jsonl", "--model", "tiny-llama"], "no known format"),
        (["--model", "tiny-llama"], "Missing option '--data'"),
    ],
)
def test_what_cannot_be_read_is_one_message(desk: Desk, arguments: list[str], told: str) -> None:
    write(desk, "clips.jsonl", lambda n: {"audio": f"{n}.wav", "text": "dad"})
    write(desk, "odd.jsonl", lambda n: {"one": 1, "two": 2})
    refused = desk.tenfold("advise", *arguments)
    assert (refused.code, told in " ".join(refused.err.split())) == (2, True), refused.text
    assert refused.out == ""


def test_a_damaged_tokenizer_or_configuration_is_one_message(desk: Desk, model_folder: Path) -> None:
    for name, told in (("tokenizer.json", "cannot be used"), ("config.json", "cannot be used")):
        folder = desk.folder / f"damaged-{name}"
        folder.mkdir()
        for path in model_folder.iterdir():
            (folder / path.name).write_bytes(b"{" if path.name == name else path.read_bytes())
        refused = desk.tenfold("advise", "--data", "rows.jsonl", "--model", folder.name)
        assert (refused.code, told in refused.err) == (2, True), refused.text


@pytest.mark.parametrize("family", FAMILIES)
def test_headers_say_what_the_model_itself_would(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    model.save_pretrained(tmp_path)
    headers = read_headers(resolve_headers(ModelSection(name=str(tmp_path))))
    assert headers.parameters == sum(weight.numel() for weight in model.parameters())
    assert headers.parameters - headers.inner_parameters == model.get_input_embeddings().weight.numel()
    assert headers.family == said_family(json.loads((tmp_path / "config.json").read_text())) == "decoder"


def test_a_family_is_said_at_once_or_asked_of_transformers_and_never_guessed(
    tmp_path: Path, encoder_folder: Path
) -> None:
    folders = [
        encoder_folder,
        save_whisper(tmp_path / "whisper"),
        save_ctc(tmp_path / "ctc"),
        *(save_encoder_decoder(tmp_path / family, family) for family in ("t5", "bart")),
    ]
    for folder in folders:
        exact = family_of(outline(folder).config)
        said = said_family(json.loads((folder / "config.json").read_text()))
        assert said in (exact, None)
        assert read_headers(resolve_headers(ModelSection(name=str(folder)))).family == exact
    for unsure in (
        {"architectures": ["RobertaForCausalLM"], "type_vocab_size": 1},
        {"architectures": ["LlamaModel"]},
        {},
    ):
        assert said_family(unsure) is None


def test_tokens_are_counted_as_the_tokenizer_does(model_folder: Path, encoder_folder: Path) -> None:
    texts = ["lamp 3 red", "", "a" * 2000]
    for folder in (model_folder, encoder_folder):
        assert count_tokens(folder, texts) == [len(ids) for ids in load_tokenizer(folder)(texts)["input_ids"]]
