"""Pieces: made once, made again when damaged, and told about in SOURCES.md with what was counted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from evidence import prepare
from evidence.catalogue import PIECES
from evidence.page import note, write_page
from evidence.piece import Piece, TableMaker, Workshop, ensure, is_whole, record
from evidence.tables import Row

ROWS: list[Row] = [
    {"text": "a", "group": "1", "split": "train"},
    {"text": "b", "group": "2", "split": "test"},
]


def piece(rows: list[Row] = ROWS) -> Piece:
    def make(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
        return rows, {"labels": {"x": 1200}}

    return Piece("small", "tables", TableMaker("small", make), "Letters.", "an alphabet", "CC0-1.0", "number", "none")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "data", tmp_path / "cache")


def test_what_is_whole_is_not_made_again(workshop: Workshop) -> None:
    assert ensure(piece(), workshop)
    assert not ensure(piece(), workshop)


@pytest.mark.parametrize("damage", ["changed", "gone", "added"])
def test_a_damaged_piece_is_made_again(workshop: Workshop, damage: str) -> None:
    ensure(piece(), workshop)
    folder = workshop.place(piece())
    path = folder / "train.jsonl"
    before = path.read_bytes()
    if damage == "changed":
        path.write_bytes(before[:-5])
    elif damage == "gone":
        path.unlink()
    else:
        (folder / "stray").mkdir()
        (folder / "stray" / "rows.jsonl").touch()
    assert not is_whole(folder)
    assert ensure(piece(), workshop)
    assert path.read_bytes() == before
    assert not (folder / "stray").exists()


def test_a_piece_that_fails_leaves_nothing_behind(workshop: Workshop) -> None:
    with pytest.raises(Exception, match="no rows"):
        ensure(piece([ROWS[0]]), workshop)
    assert not workshop.place(piece()).exists()


def test_the_note_tells_what_was_counted(workshop: Workshop) -> None:
    ensure(piece(), workshop)
    told = " ".join(note(piece(), record(workshop.place(piece()))).split())
    assert "Rows: 1 / 0 / 1." in told
    assert "Labels: x 1,200." in told
    assert all(part in told for part in ("Source: an alphabet.", "Licence: CC0-1.0.", "Group: number."))


def test_the_page_keeps_the_paragraph_of_what_is_not_here(tmp_path: Path, workshop: Workshop) -> None:
    page = tmp_path / "SOURCES.md"
    page.write_text("### licences\nTold before,\nin two lines.\n", encoding="utf-8")
    write_page(page, workshop)
    assert "### licences\nTold before,\nin two lines.\n" in page.read_text(encoding="utf-8")


def test_an_unknown_name_is_told_with_the_nearest_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert prepare.main(["licenses", "--data", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "no piece 'licenses'" in told and "did you mean 'licences'?" in told


def test_every_piece_has_its_paragraph_and_says_what_it_must() -> None:
    page = (prepare.FOLDER / "SOURCES.md").read_text(encoding="utf-8")
    for name, own in PIECES.items():
        assert f"### {name}\n" in page, name
        assert own.about and own.source and own.licence and own.pitfalls
        assert own.group or own.kind == "models"
