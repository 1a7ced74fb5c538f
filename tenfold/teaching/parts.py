"""What a teacher reads once, a part at a time: a stopped run goes on from the parts that are there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tenfold.errors import Interrupted, Problem
from tenfold.files import sealed_json, sealed_text, sha256_file


def read_in_parts(
    parts: Path,
    num_rows: int,
    rows_per_part: int,
    write_part: Callable[[Path, list[int]], None],
    *,
    stop_asked: Callable[[], bool],
) -> list[Path]:
    """Return the folders in `parts` of all rows, in order; `write_part` makes, and seals, those not there yet.

    Raises:
        Interrupted: `stop_asked()` came true; the parts that were done are kept.
    """
    for first in range(0, num_rows, rows_per_part):
        part = parts / f"{first:09d}"
        if sealed_facts(part) is None:
            if stop_asked():
                again = "run the same command again: what the teacher has read is kept"
                raise Interrupted(Problem("stopped while the teacher reads", "as asked", remedy=again))
            shutil.rmtree(part, ignore_errors=True)  # a damaged one
            write_part(part, list(range(first, min(first + rows_per_part, num_rows))))
    return [parts / f"{first:09d}" for first in range(0, num_rows, rows_per_part)]


def seal(folder: Path, facts: dict[str, object]) -> None:
    """Write `lessons.json` into a folder that nobody sees yet: `facts`, and the SHA-256 of every file in `folder`."""
    hashes = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
    (folder / "lessons.json").write_text(sealed_text({**facts, "sha256": hashes}), encoding="utf-8")


def sealed_facts(folder: Path) -> dict[str, Any] | None:
    """Return the facts that `seal` wrote into `folder`, or None where it is absent or a file of it is damaged."""
    facts = sealed_json(folder / "lessons.json")
    if facts is None:
        return None
    try:
        is_sound = all(sha256_file(folder / name) == wanted for name, wanted in facts["sha256"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return facts if is_sound else None
