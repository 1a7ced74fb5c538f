"""Tables: no group and no text on two sides, every row placed, written as it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from evidence.tables import Row, apart, capped, check, read, side, write
from tenfold.errors import DataError

ROWS: list[Row] = [
    {"text": "first", "group": "a", "split": "train"},
    {"text": "second", "group": "b", "split": "test"},
    {"text": "third", "group": "a", "split": "train"},
]


def test_a_written_table_is_read_again_split_by_split(tmp_path: Path) -> None:
    assert write(tmp_path, "table", ROWS) == {"train": 2, "validation": 0, "test": 1}
    assert read(tmp_path, "train") == [ROWS[0], ROWS[2]]
    assert read(tmp_path, "test") == [ROWS[1]]
    assert read(tmp_path, "validation") == []


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": "x", "group": "a", "split": "test"}, "the group 'a' is in train and in test"),
        ({"text": "x", "group": "", "split": "test"}, "a row without a group"),
        ({"text": "x", "split": "test"}, "a row without a group"),
        ({"text": "x", "group": "c", "split": "dev"}, "the split 'dev'"),
    ],
)
def test_a_table_that_is_not_sound_is_not_written(tmp_path: Path, row: Row, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        write(tmp_path, "table", [*ROWS, row])
    assert not list(tmp_path.iterdir())


def test_a_table_needs_rows_to_train_and_to_test() -> None:
    with pytest.raises(DataError, match="'test' has no rows"):
        check("table", [ROWS[0]])


def test_a_text_that_is_trained_on_is_not_tested() -> None:
    rows: list[Row] = [
        {"text": "A library, for PDF files.", "group": "a", "split": "test"},
        {"text": "a library for pdf files", "group": "b", "split": "train"},
        {"text": "another library", "group": "c", "split": "test"},
    ]
    assert [row["group"] for row in apart(rows, "text")] == ["b", "c"]


def test_texts_that_begin_alike_are_one_text() -> None:
    rows: list[Row] = [
        {"text": "same start " * 20 + ending, "group": ending, "split": split}
        for ending, split in (("one", "train"), ("two", "test"))
    ]
    assert [row["group"] for row in apart(rows, "text", letters=200)] == ["one"]
    assert len(apart(rows, "text", letters=10_000)) == 2


def test_a_text_with_two_labels_is_dropped() -> None:
    rows: list[Row] = [
        {"text": "a", "label": "x", "split": "train"},
        {"text": "A.", "label": "y", "split": "train"},
        {"text": "b", "label": "x", "split": "train"},
    ]
    assert [row["text"] for row in apart(rows, "text", label="label")] == ["b"]


def test_caps_hold_for_each_split_and_key_and_the_choice_is_the_same_again() -> None:
    rows: list[Row] = [
        {"text": str(number), "group": number % 2, "split": "train" if number < 30 else "test"} for number in range(40)
    ]
    kept = capped(rows, {"train": 4, "test": 3}, key=lambda row: row["group"])
    counts = {(group, split): 0 for group in (0, 1) for split in ("train", "test")}
    for row in kept:
        counts[int(str(row["group"])), str(row["split"])] += 1
    assert counts == {(0, "train"): 4, (1, "train"): 4, (0, "test"): 3, (1, "test"): 3}
    assert kept == capped(rows[::-1], {"train": 4, "test": 3}, key=lambda row: row["group"])


def test_a_groups_side_depends_on_nothing_but_its_name() -> None:
    sides = [side("debian", f"source-{number}") for number in range(2000)]
    assert sides == [side("debian", f"source-{number}") for number in range(2000)]
    # Of 2,000 draws with a share of 0.2 the count is within 5 standard deviations (18) of 400.
    assert 310 < sides.count("test") < 490
