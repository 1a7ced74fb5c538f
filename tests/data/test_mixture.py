"""Mixtures of tasks: the shares by counting, purity, batches of one task, rows with an origin."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from tenfold.data.mixture import Mixture, apportioned, temperature_shares
from tenfold.data.prepare import prepare
from tenfold.data.render import Renderer
from tenfold.data.sources import open_rows
from tenfold.data.windows import Windows
from tenfold.recipe import DataSection
from tests.tiny_tokenizers import byte_tokenizer

SIZES = {"small": 6, "large": 24}


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Windows]:
    found = {}
    renderer = Renderer(byte_tokenizer(), DataSection())
    for name, size in SIZES.items():
        path = tmp_path / f"{name}.jsonl"
        rows = [{"prompt": f"{name} {number}", "completion": "yes"} for number in range(size)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        prepared = prepare(open_rows(str(path)), renderer, task=name)
        found[name] = Windows(prepared, batch_size=4, micro_batch_tokens=200, seed=3)
    return found


def mixed(sources: dict[str, Windows], *, counts: tuple[int, int] = (10, 20), seed: int = 3) -> Mixture:
    return Mixture(tuple(sources.values()), counts, batch_size=4, seed=seed)


def origins(mixture: Mixture, updates: range) -> list[str]:
    return [mixture.origin(row) for update in updates for row in mixture.window(update).rows]


def test_an_epoch_holds_each_task_in_its_share_to_the_row(sources: dict[str, Windows]) -> None:
    mixture = mixed(sources)
    assert mixture.updates_per_epoch == 8
    for epoch in range(3):
        met = origins(mixture, range(8 * epoch, 8 * epoch + 8))
        assert Counter(origin.split(".")[0] for origin in met) == {"small": 10, "large": 20}


def test_every_row_of_a_task_is_met_before_any_is_met_again(sources: dict[str, Windows]) -> None:
    met = [origin for origin in origins(mixed(sources), range(24)) if origin.startswith("small")]
    assert len(met) == 30
    for start in range(0, 30, 6):
        assert len(set(met[start : start + 6])) == 6
    assert met[:6] != met[6:12], "a new order every time round"


def test_a_batch_holds_rows_of_one_task_and_origins_name_the_rows_that_are_in_it(sources: dict[str, Windows]) -> None:
    mixture, tokenizer = mixed(sources), byte_tokenizer()
    tasks = set()
    for update in range(8):
        for batch in mixture.window(update).batches:
            texts = [tokenizer.decode(ids) for ids in batch.input_ids.split(batch.lengths)]
            for row, text in zip(batch.rows, texts, strict=True):
                file, _, line = mixture.origin(row).partition(".jsonl, line ")
                assert file == batch.task
                assert f"{file} {int(line) - 1}<" in text
            tasks.add(batch.task)
    assert tasks == set(SIZES)


def test_a_window_follows_from_seed_and_number_alone(sources: dict[str, Windows]) -> None:
    straight = [mixed(sources).window(update).rows for update in range(20)]
    jumping = mixed(sources)
    assert [jumping.window(update).rows for update in reversed(range(20))] == straight[::-1]
    assert [mixed(sources, seed=4).window(update).rows for update in range(20)] != straight


def test_smaller_micro_batches_hold_the_same_rows(sources: dict[str, Windows]) -> None:
    mixture = mixed(sources)
    small = mixture.with_micro_batch_tokens(1).padded(True)
    assert small.micro_batch_tokens == 1
    assert all(len(batch.rows) == 1 for batch in small.window(0).batches)
    assert sorted(small.window(5).rows) == sorted(mixture.window(5).rows)
    assert small.content != mixture.content and mixed(sources).content == mixture.content
    assert mixed(sources, counts=(11, 19)).content != mixture.content


def test_shares_follow_size_to_the_inverse_temperature_with_a_cap() -> None:
    # by hand: 100 and 10,000 rows; square roots 10 and 100; with a cap of 400, 10 and 20
    assert temperature_shares([100, 10_000], temperature=1, max_examples=10**9) == pytest.approx([1 / 101, 100 / 101])
    assert temperature_shares([100, 10_000], temperature=2, max_examples=10**9) == pytest.approx([1 / 11, 10 / 11])
    assert temperature_shares([100, 10_000], temperature=2, max_examples=400) == pytest.approx([1 / 3, 2 / 3])
    assert temperature_shares([3, 7, 1000], temperature=1e9, max_examples=10**9) == pytest.approx([1 / 3] * 3)


def test_whole_numbers_sum_to_the_total_and_nobody_is_left_out() -> None:
    assert apportioned(10, [0.25, 0.25, 0.5]) == (3, 2, 5)
    assert apportioned(7, [1 / 3] * 3) == (3, 2, 2)
    assert apportioned(100, [0.999, 0.001]) == (99, 1)
    assert apportioned(5, [1.0, 0.0]) == (5, 0)


def test_epochs_are_counted_in_rows_of_the_mixture(sources: dict[str, Windows]) -> None:
    mixture = mixed(sources)
    assert mixture.total_updates(1) == 8
    assert mixture.total_updates(0.5) == 4
    assert mixture.total_updates(3, 10) == 10
