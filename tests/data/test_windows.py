"""Windows: every row once an epoch, a pure function of seed and number, micro-batches within their budget."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from tenfold.data.batch import IGNORED
from tenfold.data.prepare import Prepared, prepare
from tenfold.data.preview import preview
from tenfold.data.render import Renderer
from tenfold.data.sources import open_rows
from tenfold.data.windows import Windows, pack_bins
from tenfold.recipe import DataSection
from tests.tiny_tokenizers import byte_tokenizer

NUM_ROWS = 23


@pytest.fixture
def renderer() -> Renderer:
    return Renderer(byte_tokenizer(), DataSection())


@pytest.fixture
def prepared(write_rows: Callable[..., str], renderer: Renderer) -> Prepared:
    rng = random.Random(0)
    rows = [{"prompt": f"p{n}", "completion": "word " * rng.randint(1, 40)} for n in range(NUM_ROWS)]
    return prepare(open_rows(write_rows(rows)), renderer)


def make(prepared: Prepared, *, batch_size: int = 5, budget: int = 150, seed: int = 0) -> Windows:
    return Windows(prepared, batch_size=batch_size, micro_batch_tokens=budget, seed=seed)


def test_every_epoch_meets_every_row_once_in_a_new_order(prepared: Prepared) -> None:
    windows = make(prepared)
    assert windows.updates_per_epoch == 5
    orders = []
    for epoch in range(3):
        seen = [windows.window(epoch * 5 + place).rows for place in range(5)]
        assert [len(rows) for rows in seen] == [5, 5, 5, 5, 3]
        assert sorted(row for rows in seen for row in rows) == list(range(NUM_ROWS))
        orders.append([frozenset(rows) for rows in seen])
    assert orders[0] != orders[1] != orders[2]


def test_window_depends_on_seed_and_number_alone(prepared: Prepared) -> None:
    straight = make(prepared)
    rows = [straight.window(update).rows for update in range(12)]
    assert [make(prepared).window(update).rows for update in reversed(range(12))] == rows[::-1]
    assert [make(prepared, seed=1).window(update).rows for update in range(12)] != rows


def test_micro_batches_change_the_cut_never_the_rows(prepared: Prepared) -> None:
    windows = make(prepared)
    for budget in (1, 60, 150, 10_000):
        other = windows.with_micro_batch_tokens(budget)
        assert other.micro_batch_tokens == budget
        for update in range(7):
            window = other.window(update)
            assert set(window.rows) == set(windows.window(update).rows)
            assert window.num_tokens == windows.window(update).num_tokens
            for batch in window.batches:
                assert len(batch.input_ids) <= budget or len(batch.rows) == 1
    assert windows.micro_batch_tokens == 150


def test_batches_hold_the_prepared_tokens_and_targets(prepared: Prepared) -> None:
    windows = make(prepared)
    for batch in windows.window(2).batches:
        borders = batch.cu_seqlens.tolist()
        for place, row in enumerate(batch.rows):
            _, input_ids, supervised, *_ = prepared.row(row)
            start, end = borders[place], borders[place + 1]
            assert batch.input_ids[start:end].tolist() == input_ids
            expected = [input_ids[t + 1] if supervised[t + 1] else IGNORED for t in range(len(input_ids) - 1)]
            assert batch.targets[start:end].tolist() == [*expected, IGNORED]


@pytest.mark.parametrize(
    ("epochs", "max_updates", "updates"),
    [(1.0, None, 5), (2.0, None, 10), (0.5, None, 3), (0.001, None, 1), (1.2, None, 6), (3.0, 4, 4), (1.0, 99, 5)],
)
def test_updates_follow_epochs_and_their_limit(
    prepared: Prepared, epochs: float, max_updates: int | None, updates: int
) -> None:
    assert make(prepared).total_updates(epochs, max_updates) == updates


def test_bins_hold_everything_once_and_need_few(prepared: Prepared) -> None:
    for seed in range(200):
        rng = random.Random(seed)
        lengths = [rng.randint(1, 120) for _ in range(rng.randint(1, 40))]
        bins = pack_bins(lengths, 100)
        assert sorted(place for members in bins for place in members) == list(range(len(lengths)))
        fitting = [length for length in lengths if length <= 100]
        alone = len(lengths) - len(fitting)
        assert all(sum(lengths[place] for place in members) <= 100 or len(members) == 1 for members in bins)
        # Two bins of first fit are together more than one budget full, so at most twice the volume, and one.
        assert len(bins) - alone <= 2 * sum(fitting) / 100 + 1
        assert pack_bins(lengths, 100) == bins
    assert pack_bins([60, 40, 40, 60], 100) == [[0, 1], [3, 2]]


def test_bins_are_filled_evenly_for_the_fullest_decides_the_memory() -> None:
    lengths = [50, 40, 30, 20, 10]
    assert sorted(sum(lengths[place] for place in members) for members in pack_bins(lengths, 120)) == [70, 80]
    assert pack_bins([130, 50, 40], 100) == [[0], [1, 2]]  # a row above the bound is alone


@pytest.mark.parametrize("count", (2, 3, 4))
@pytest.mark.parametrize("is_padded", (False, True))
def test_ranks_share_the_rows_of_a_window_about_evenly(prepared: Prepared, count: int, is_padded: bool) -> None:
    whole = replace(make(prepared, batch_size=12, budget=4096), is_padded=is_padded)
    assert len(whole.window(0).batches) == 1
    window = whole.over_ranks(count).window(0)
    shares = [window.share(rank, count) for rank in range(count)]
    rows = [row for share in shares for batch in share for row in batch.rows]
    assert sorted(rows) == sorted(whole.window(0).rows)
    loads = [sum(batch.num_positions for batch in share) for share in shares]
    assert max(loads) < 1.5 * sum(loads) / count
    assert all(mine is batch for mine, batch in zip(window.share(0, 1), window.batches, strict=True)), "in their order"


def test_more_ranks_than_rows_leave_some_without(prepared: Prepared) -> None:
    window = make(prepared, batch_size=3).over_ranks(4).window(0)
    assert [len(window.share(rank, 4)) for rank in range(4)] == [1, 1, 1, 0]


def test_bins_for_ranks_are_a_multiple_of_them_within_the_bound() -> None:
    rng = random.Random(1)
    for _ in range(100):
        lengths = [rng.randint(1, 60) for _ in range(rng.randint(8, 40))]
        for ranks in (2, 3, 4):
            bins = pack_bins(lengths, 100, ranks=ranks)
            assert sorted(place for members in bins for place in members) == list(range(len(lengths)))
            assert all(members and sum(lengths[place] for place in members) <= 100 for members in bins)
            assert len(bins) >= ranks
    assert pack_bins([], 100, ranks=2) == []


def test_origin_names_the_row(prepared: Prepared) -> None:
    assert make(prepared).origin(7) == "rows.jsonl, line 8"


def test_preview_shows_a_character_of_several_tokens_whole(renderer: Renderer) -> None:
    ids = renderer.tokenizer("can’t", add_special_tokens=False)["input_ids"]
    assert any("\ufffd" in renderer.tokenizer.decode([token]) for token in ids), "no token holds all of the apostrophe"
    assert renderer.text_of(ids) == "can’t"


def test_preview_shows_the_batches_own_mask(prepared: Prepared, renderer: Renderer) -> None:
    shown = preview(make(prepared), renderer, num_rows=7)
    assert len(shown.rows) == 7
    for row in shown.rows:
        number = int(row.origin.rpartition(" ")[2]) - 1
        reply = "".join(text for text, learned in row.runs if learned)
        assert reply == f"{prepared.rows.row(number)['completion']}<|im_end|>"
        assert "".join(text for text, _ in row.runs).startswith(f"<|im_start|>user\np{number}<|im_end|>")
    lengths = [len(prepared.row(index)[1]) for index in range(NUM_ROWS)]
    assert sum(count for _, _, count in shown.lengths) == shown.num_rows == NUM_ROWS
    for low, high, count in shown.lengths:
        assert count == sum(low <= length <= high for length in lengths)
    learned = sum(sum(prepared.row(index)[2]) for index in range(NUM_ROWS))
    assert shown.supervised_share == pytest.approx(learned / sum(lengths))
    assert len(preview(make(prepared), renderer, num_rows=99).rows) == NUM_ROWS


def test_padding_counts_where_rows_are_padded(prepared: Prepared) -> None:
    # one long row among short ones: packed 4,024 tokens fit at once, padded to 1,024 each they would be 16,384
    lengths = [1024] + [200] * 15
    assert len(pack_bins(lengths, 4096)) == 1
    bins = pack_bins(lengths, 4096, is_padded=True)
    assert sorted(place for members in bins for place in members) == list(range(16))
    assert max(len(members) * max(lengths[place] for place in members) for members in bins) == 4096
    padded = replace(make(prepared, batch_size=NUM_ROWS, budget=300), is_padded=True)
    window = padded.window(0)
    assert set(window.rows) == set(range(NUM_ROWS))
    assert all(len(batch.rows) == 1 or len(batch.rows) * max(batch.lengths) <= 300 for batch in window.batches)
    assert padded.with_micro_batch_tokens(60).is_padded
