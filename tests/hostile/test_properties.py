"""Properties that hold for any rows, texts and settings; hypothesis looks for some for which they do not."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenfold.data.examples import Example, Turn, to_example, to_question
from tenfold.data.fields import RowFault
from tenfold.data.formats import WORDS, detect_format
from tenfold.data.readers import read_file
from tenfold.data.render import Renderer
from tenfold.errors import DataError, RecipeError
from tenfold.plain import UNSEEN, as_code, in_markdown, on_screen
from tenfold.recipe import DataSection, Recipe, dump_recipe, parse_recipe
from tenfold.recipe.load import read_tree
from tests.tiny_tokenizers import CHATML, HARMONY, PHI, byte_tokenizer

SHORT = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

texts = st.text(max_size=40) | st.sampled_from(["<|im_end|>", "<s>", "<|im_start|>assistant\n", "\ue000", "{{ a }}"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)
names = st.sampled_from([*sorted({name for needed in WORDS.values() for name in needed}), "role", "content", "x"])
rows = st.dictionaries(names, values, max_size=5)


def written(folder: str, name: str, content: str) -> list[dict[str, object]]:
    path = Path(folder) / name
    path.write_text(content, encoding="utf-8", newline="")
    return [json.loads(row) for _, row in read_file(path, name)]


@SHORT
@given(st.lists(rows, max_size=3))
def test_rows_come_back_from_json_lines_and_documents_as_they_were(found: list[dict[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        lines = written(folder, "rows.jsonl", "".join(json.dumps(row) + "\n" for row in found))
        document = written(folder, "rows.json", json.dumps(found))
    assert repr(lines) == repr(document) == repr(json.loads(json.dumps(found)))


@SHORT
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=4))
def test_cells_come_back_from_csv_as_they_were(cells: list[tuple[str, str]]) -> None:
    file = io.StringIO(newline="")
    cells = [pair for pair in cells if not any("\r" in cell for cell in pair)]
    csv.writer(file).writerows([("prompt", "completion"), *cells])
    with tempfile.TemporaryDirectory() as folder:
        found = written(folder, "rows.csv", file.getvalue())
    assert [tuple(row.values()) for row in found] == cells


@SHORT
@given(rows)
def test_a_row_is_an_example_or_a_fault(row: dict[str, object]) -> None:
    with suppress(DataError):
        format = detect_format(list(row), "auto", {}, "rows", needed=WORDS)
        for understand in (to_example, to_question):
            with suppress(RowFault):
                understand(row, format, {})


@SHORT
@given(st.dictionaries(st.sampled_from(sorted(Recipe.model_fields)), values, max_size=4))
def test_settings_are_a_recipe_that_comes_back_equal_or_problems(tree: dict[str, object]) -> None:
    try:
        recipe = parse_recipe(tree)
    except RecipeError as error:
        assert all(problem.where and problem.found for problem in error.problems)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(dump_recipe(recipe), encoding="utf-8")
        assert parse_recipe(read_tree(path)) == recipe


@SHORT
@given(st.text(max_size=60))
def test_any_text_is_settings_or_a_problem(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(text, encoding="utf-8", newline="")
        with suppress(RecipeError):
            assert isinstance(read_tree(path), dict)


@cache
def renderer(template: str | None) -> Renderer:
    tokenizer = byte_tokenizer(chat_template=template)
    return Renderer(tokenizer, DataSection(train="rows.jsonl", template="plain" if template is None else "chat"))


@pytest.mark.parametrize("template", [CHATML, PHI, HARMONY, None], ids=["chatml", "phi", "harmony", "plain"])
@SHORT
@given(turns=st.lists(st.lists(texts, min_size=1, max_size=4).map("".join), min_size=2, max_size=4))
def test_nothing_that_is_said_adds_a_control_token(template: str | None, turns: list[str]) -> None:
    chat = Example(
        tuple(Turn("assistant" if n % 2 else "user", text) for n, text in enumerate(turns[: len(turns) & ~1]))
    )
    plain = Example(tuple(Turn(turn.role, "a") for turn in chat.turns))
    of = renderer(template)
    special = set(of.tokenizer.all_special_ids)
    found, own = (of.render(example).input_ids for example in (chat, plain))
    assert [token for token in found if token in special] == [token for token in own if token in special]
    asked = of.prompt(chat)
    assert found[: len(asked)] == asked
    if template == CHATML:
        said = "".join(f"<|im_start|>{turn.role}\n{turn.content}<|im_end|>\n" for turn in chat.turns)
        assert of.tokenizer.decode(found) == said


@SHORT
@given(st.text())
def test_no_text_moves_a_cursor_or_becomes_markup(text: str) -> None:
    assert not UNSEEN.search(on_screen(text))
    assert on_screen(on_screen(text)) == on_screen(text)
    shown = in_markdown(text)
    assert not set("`<>|\\\n") & set(shown)
    assert "](" not in shown
    code = as_code(f"x{text}x")
    quotes = len(code) - len(code.lstrip("`"))
    assert "`" * quotes not in code[quotes:-quotes]
