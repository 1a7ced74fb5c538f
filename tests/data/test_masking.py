"""Masking: which tokens are hidden, in what shares, and that nothing but seed, epoch and row decides it."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from tenfold.data.batch import IGNORED, Batch, Entry
from tenfold.data.masking import MaskedRenderer, num_hidden
from tenfold.data.mixture import Mixture
from tenfold.data.prepare import Prepared, prepare
from tenfold.data.preview import preview
from tenfold.data.sources import open_rows
from tenfold.data.windows import Windows
from tenfold.errors import DataError
from tenfold.recipe import DataSection
from tests.tiny_tokenizers import framed_tokenizer

TOKENIZER = framed_tokenizer()
PAD, CLS, SEP, MASK = 0, 1, 2, 3
Shown = dict[int, tuple[list[int], list[int]]]


def text_table(folder: Path, rows: int = 40, **data: object) -> tuple[Prepared, MaskedRenderer]:
    path = folder / "texts.txt"
    path.write_text("\n\n".join(f"the lamp {number} stands in hall {number % 7}" for number in range(rows)))
    renderer = MaskedRenderer(TOKENIZER, DataSection(**data))  # type: ignore[arg-type]
    return prepare(open_rows(str(path), format="text"), renderer), renderer


def shown(batches: tuple[Batch, ...]) -> Shown:
    """Return the tokens and targets of each row, by its number."""
    found = {}
    for batch in batches:
        for row, (start, end) in zip(batch.rows, pairwise(batch.cu_seqlens.tolist()), strict=True):
            found[row] = (batch.input_ids[start:end].tolist(), batch.targets[start:end].tolist())
    return found


def test_hidden_tokens_have_berts_shares() -> None:
    renderer = MaskedRenderer(TOKENIZER, DataSection())
    length, rows = 200, 500
    ids = [CLS, *[10 + place % 200 for place in range(length)], SEP]
    entries = [Entry(row, ids, [False, *[True] * length, False], draw=(0, 0)) for row in range(rows)]
    kinds: Counter[str] = Counter()
    places: Counter[int] = Counter()
    for after, targets in shown((renderer.collate(entries),)).values():
        told = [place for place, target in enumerate(targets) if target != IGNORED]
        assert len(told) == num_hidden(length) == 30
        assert all(targets[place] == ids[place] for place in told)
        assert all(after[place] == ids[place] for place in range(len(ids)) if place not in told)
        places.update(told)
        for place in told:
            same, masked = after[place] == ids[place], after[place] == MASK
            kinds["same" if same else "masked" if masked else "random"] += 1
            assert after[place] not in (PAD, CLS, SEP)
    total = sum(kinds.values())
    assert total == 15_000
    # four standard deviations of a share of 15,000 draws: 0.013 at 0.8, 0.010 at 0.1
    assert kinds["masked"] / total == pytest.approx(0.8, abs=0.013)
    assert kinds["random"] / total == pytest.approx(0.1, abs=0.010)
    assert kinds["same"] / total == pytest.approx(0.1, abs=0.010)
    # each of 200 places is hidden 75 times on average, with a standard deviation of 8
    assert set(places) == set(range(1, length + 1)), "special tokens never, all others sometimes"
    assert min(places.values()) > 40 and max(places.values()) < 115


def test_special_tokens_within_a_text_are_never_hidden(tmp_path: Path) -> None:
    path = tmp_path / "one.jsonl"
    path.write_text('{"text": "[MASK] lamp [SEP] the [PAD]"}')
    renderer = MaskedRenderer(TOKENIZER, DataSection(special_tokens="control"))
    prepared = prepare(open_rows(str(path), format="text"), renderer)
    entry = prepared.row(0)
    assert {MASK, SEP, PAD, CLS} <= set(entry.input_ids)
    assert [token for token, may in zip(entry.input_ids, entry.supervised, strict=True) if not may] == [
        token for token in entry.input_ids if token in (PAD, CLS, SEP, MASK)
    ]
    for epoch in range(50):
        targets = renderer.collate([entry._replace(draw=(0, epoch))]).targets.tolist()
        assert not {PAD, CLS, SEP, MASK} & set(targets)


@pytest.mark.parametrize(("tokens", "hidden"), [(0, 0), (1, 1), (6, 1), (10, 2), (100, 15), (127, 19)])
def test_a_row_has_15_percent_hidden_and_one_token_at_least(tokens: int, hidden: int) -> None:
    assert num_hidden(tokens) == hidden


def test_what_is_hidden_follows_from_seed_epoch_and_row_not_from_the_batch(tmp_path: Path) -> None:
    prepared, _ = text_table(tmp_path)

    def epoch(number: int, *, batch: int = 8, tokens: int = 4096, seed: int = 0, padded: bool = False) -> Shown:
        windows = Windows(prepared, batch_size=batch, micro_batch_tokens=tokens, seed=seed, is_padded=padded)
        each = windows.updates_per_epoch
        return shown(
            tuple(b for update in range(number * each, (number + 1) * each) for b in windows.window(update).batches)
        )

    first = epoch(0)
    assert len(first) == 40 and epoch(0) == first
    assert epoch(0, tokens=20) == first, "accumulation changes nothing"
    assert epoch(0, batch=40) == first and epoch(0, padded=True) == first
    for other in (epoch(1), epoch(0, seed=1)):
        same = [row for row in first if other[row][1] == first[row][1]]
        assert len(same) < 8, "another epoch, or seed, hides other tokens"
    alone = shown(Windows(prepared, batch_size=8, micro_batch_tokens=99, seed=0).cut([5]).batches)
    assert alone[5] == first[5]


def test_rows_of_a_mixture_are_drawn_as_in_their_own_epochs(tmp_path: Path) -> None:
    prepared, _ = text_table(tmp_path, 10)
    windows = Windows(prepared, batch_size=4, micro_batch_tokens=4096, seed=0)
    mixture = Mixture((windows,), (25,), batch_size=25, seed=0)
    met = [
        (row, batch.targets[start:end].tolist())
        for batch in mixture.window(0).batches
        for row, (start, end) in zip(batch.rows, pairwise(batch.cu_seqlens.tolist()), strict=True)
    ]
    assert len(met) == 25
    for row in range(10):
        assert len({str(targets) for number, targets in met if number == row}) > 1, "the epochs of one row differ"


def test_long_texts_go_on_in_further_framed_rows(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    path.write_text('{"text": "' + "the lamp stands " * 60 + '"}')
    prepared = prepare(open_rows(str(path), format="text"), MaskedRenderer(TOKENIZER, DataSection(max_length=16)))
    rows = [prepared.row(number).input_ids for number in range(len(prepared))]
    assert len(rows) > 3
    assert all(row[0] == CLS and row[-1] == SEP and 4 <= len(row) <= 16 for row in rows)
    whole = TOKENIZER("the lamp stands " * 60, add_special_tokens=False)["input_ids"]
    assert [token for row in rows for token in row[1:-1]] in (whole, whole[:-1])
    supervised = prepared.column("num_supervised")
    assert [num_hidden(len(row) - 2) for row in rows] == supervised.tolist(), "what is in the loss is counted as such"


def test_a_preview_marks_what_is_hidden(tmp_path: Path) -> None:
    prepared, renderer = text_table(tmp_path)
    windows = Windows(prepared, batch_size=8, micro_batch_tokens=4096, seed=0)
    found = preview(windows, renderer)
    assert 0.05 < found.supervised_share < 0.25
    for row in found.rows:
        told = "".join(text for text, in_loss in row.runs if in_loss)
        assert told and len(told) < len("".join(text for text, _ in row.runs)) / 2
    assert any("[MASK]" in text for row in found.rows for text, in_loss in row.runs if in_loss)


def test_a_tokenizer_without_a_mask_token_is_refused() -> None:
    tokenizer = framed_tokenizer()
    tokenizer.mask_token = None
    with pytest.raises(DataError, match="no mask token"):
        MaskedRenderer(tokenizer, DataSection())


def test_no_room_for_a_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.max_length.*leaves no room"):
        text_table(tmp_path, max_length=3)
