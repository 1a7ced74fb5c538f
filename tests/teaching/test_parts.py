"""What a teacher has read in parts: only whole parts count, whatever else lies beside them."""

from __future__ import annotations

from pathlib import Path

from tenfold.files import atomic_folder
from tenfold.teaching.parts import read_in_parts, seal


def read(parts: Path) -> tuple[list[str], list[int]]:
    """Return what the parts of ten rows hold, and the first rows of those that were made now."""
    made = []

    def write(part: Path, rows: list[int]) -> None:
        made.append(rows[0])
        with atomic_folder(part) as partial:
            (partial / "rows").write_text(f"{rows[0]} to {rows[-1]}")
            seal(partial, {})

    folders = read_in_parts(parts, 10, 4, write, stop_asked=lambda: False)
    return [(folder / "rows").read_text() for folder in folders], made


def test_what_a_killed_run_has_begun_is_no_part(tmp_path: Path) -> None:
    begun = tmp_path / ".000000004.77.partial"
    begun.mkdir()
    (begun / "rows").write_text("4 to 7")
    assert read(tmp_path) == (["0 to 3", "4 to 7", "8 to 9"], [0, 4, 8])
    assert not begun.exists()


def test_a_damaged_part_is_made_again_and_no_other(tmp_path: Path) -> None:
    read(tmp_path)
    (tmp_path / "000000004" / "rows").write_text("4 to 6")
    assert read(tmp_path) == (["0 to 3", "4 to 7", "8 to 9"], [4])
