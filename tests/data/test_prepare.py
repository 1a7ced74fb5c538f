"""Prepared rows: what the renderer says, on disk, once; faults told together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tenfold.data.prepare import items, prepare
from tenfold.data.render import Renderer
from tenfold.data.sources import open_rows
from tenfold.errors import DataError
from tenfold.recipe import DataSection
from tests.tiny_tokenizers import byte_tokenizer

Writer = Callable[..., str]
PAIRS = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(2500)]


def test_every_row_is_there_as_rendered_over_chunk_borders(write_rows: Writer) -> None:
    renderer = Renderer(byte_tokenizer(), DataSection())
    rows = open_rows(write_rows(PAIRS))
    prepared = prepare(rows, renderer)
    assert len(prepared) == len(PAIRS)
    for index in (0, 999, 1000, 2499):
        rendered = renderer.render(rows.example(index))
        assert prepared.row(index)[:3] == (index, rendered.input_ids, rendered.supervised)
        assert prepared.column("length")[index] == len(rendered.input_ids)
        assert prepared.column("num_supervised")[index] == sum(rendered.supervised)
        assert prepared.origin(index) == f"rows.jsonl, line {index + 1}"


def test_cache_serves_the_same_rows_and_renderer_only(write_rows: Writer, cache: Path) -> None:
    def num_tables() -> int:
        return len(list((cache / "data").glob("tokens-*.arrow")))

    rows = open_rows(write_rows(PAIRS[:5]))
    first = prepare(rows, Renderer(byte_tokenizer(), DataSection()))
    again = prepare(open_rows(write_rows(PAIRS[:5])), Renderer(byte_tokenizer(), DataSection()))
    assert (again.fingerprint, num_tables()) == (first.fingerprint, 1)
    prepare(rows, Renderer(byte_tokenizer(), DataSection(max_length=5)))
    assert num_tables() == 2


def test_long_text_becomes_several_entries_of_one_row(write_rows: Writer) -> None:
    rows = open_rows(write_rows([{"text": "q" * 5}, {"text": "q" * 24}, {"text": "q"}]))
    prepared = prepare(rows, Renderer(byte_tokenizer(), DataSection(max_length=10)))
    assert prepared.column("source").tolist() == [0, 1, 1, 1, 2]
    assert prepared.column("length").tolist() == [6, 10, 10, 5, 2]
    assert prepared.origin(3) == "rows.jsonl, line 2"
    judged = items(prepared, Renderer(byte_tokenizer(), DataSection()), max_rows=9, seed=0)
    assert [(item.prompt_ids, item.prompt, item.reference) for item in judged] == [([], "", "")] * len(judged)
    assert [item.input_ids for item in judged] == [prepared.row(item.row)[1] for item in judged]


def test_faults_are_told_together_with_their_lines_and_number(write_rows: Writer, cache: Path) -> None:
    rows: list[dict[str, str]] = [dict(pair) for pair in PAIRS[:1200]]
    for index in (0, 3, 7, 9, 11, 13, 1100):
        rows[index]["completion"] = " "
    with pytest.raises(DataError) as error:
        prepare(open_rows(write_rows(rows)), Renderer(byte_tokenizer(), DataSection()))
    problems = error.value.problems
    assert [problem.where for problem in problems[:-1]] == [f"rows.jsonl, line {n}" for n in (1, 4, 8, 10, 12)]
    assert all("response is empty" in problem.found for problem in problems[:-1])
    assert "7 of 1200 rows cannot be used" in problems[-1].found
    with pytest.raises(DataError, match="7 of 1200 train rows cannot"):
        prepare(open_rows(write_rows(rows)), Renderer(byte_tokenizer(), DataSection()), side="train")
    assert not list((cache / "data").glob("tokens-*"))


def test_items_are_prompts_and_references_chosen_by_content_and_seed(write_rows: Writer) -> None:
    renderer = Renderer(byte_tokenizer(), DataSection())
    prepared = prepare(open_rows(write_rows(PAIRS[:50])), renderer)
    chosen = items(prepared, renderer, max_rows=10, seed=1)
    assert len(chosen) == 10
    for item in chosen:
        assert (item.prompt, item.reference) == (f"question {item.row}", f"answer {item.row}")
        assert item.input_ids[: len(item.prompt_ids)] == item.prompt_ids
        assert not any(item.supervised[: len(item.prompt_ids)])
    assert {item.row for item in items(prepared, renderer, max_rows=10, seed=2)} != {item.row for item in chosen}
    shuffled = prepare(open_rows(write_rows(PAIRS[:50][::-1], "reversed.jsonl")), renderer)
    same = items(shuffled, renderer, max_rows=10, seed=1)
    assert {item.prompt for item in same} == {item.prompt for item in chosen}
    assert len(items(prepared, renderer, max_rows=99, seed=1)) == 50


def test_a_few_entries_are_a_table_of_their_own(write_rows: Callable[..., str]) -> None:
    rows = open_rows(write_rows([{"prompt": f"say {n}", "completion": "a" * (n + 1)} for n in range(6)]))
    whole = prepare(rows, Renderer(byte_tokenizer(), DataSection()))
    few = whole.select([4, 1])
    assert [few.row(place).input_ids for place in (0, 1)] == [whole.row(place).input_ids for place in (4, 1)]
    assert few.column("length").tolist() == whole.column("length")[[4, 1]].tolist()
    assert [few.origin(place) for place in (0, 1)] == [whole.origin(4), whole.origin(1)]
    assert len({whole.fingerprint, few.fingerprint, whole.select([1, 4]).fingerprint}) == 3
