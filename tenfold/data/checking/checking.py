"""The check of rows, as one story: read every row once, keep its keys, and say what they show; then a cleaned copy.

Memory holds one chunk of rows and about 60 bytes for every row; signatures lie in temporary files.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tenfold.data.checking.damage import file_damages
from tenfold.data.checking.finding import Finding, Shown, Tally
from tenfold.data.checking.keys import Keys
from tenfold.data.checking.languages import Languages
from tenfold.data.checking.near import Signatures
from tenfold.data.checking.reading import Reading
from tenfold.data.checking.repeats import tell_repeats
from tenfold.data.checking.sides import Sides
from tenfold.data.readers import kind_of
from tenfold.data.sources import open_rows
from tenfold.errors import DataError, Problem, collecting
from tenfold.files import unfinished
from tenfold.paths import cache_folder

MISSING = "not installed: pip install 'tenfold[check]'"


@dataclass(frozen=True)
class Checked:
    """What the check of all files found; `skipped` says why something was not looked for."""

    sides: Sides
    keys: Keys
    findings: list[Finding]
    languages: Mapping[str, int]
    skipped: Mapping[str, str]
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """How fast rows were checked, opening the files included."""
        return len(self.sides) / max(self.seconds, 1e-9)

    @property
    def not_asked(self) -> set[str]:
        """The kinds that were not looked for."""
        without = {"near_duplicates": {"near_duplicates", "near_held_out"}, "languages": {"languages"}}
        kinds = {kind for name in self.skipped for kind in without[name]}
        return kinds if self.sides.sides[-1].is_test else kinds | {"held_out", "near_held_out"}

    def to_json(self) -> dict[str, object]:
        """Return everything as JSON figures."""
        return {
            "files": self.sides.to_json(),
            "rows": len(self.sides),
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rows_per_second, 1),
            "findings": [finding.to_json() for finding in self.findings],
            "languages": dict(self.languages),
            "skipped": dict(self.skipped),
        }


def check_rows(
    files: Sequence[str],
    *,
    test: Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> Checked:
    """Check the rows of `files`, with those of `test` as held out; `tell` hears how many rows of how many are read.

    Raises:
        DataError: files that cannot be read at all.
    """
    started = time.perf_counter()
    sides = open_sides(files, test, columns)
    tally, keys = Tally(), Keys(len(sides))
    skipped = {
        name: MISSING
        for name, library in (("near_duplicates", "rensa"), ("languages", "py3langid"))
        if importlib.util.find_spec(library) is None
    }
    with unfinished(cache_folder("data") / "check") as folder:
        signatures = None if "near_duplicates" in skipped else Signatures(folder, len(sides))
        languages = None if "languages" in skipped else Languages.of(len(sides))
        reading = Reading(sides, keys, tally, signatures, languages)
        reading.read_all(tell)
        tell_repeats(sides, keys, tally, signatures)
    for source in (*files, *test):
        _tell_file(source, tally)
    counts: Mapping[str, int] = {}
    if languages is not None:
        tally.put(languages.finding())
        counts = dict(languages.counts.most_common())
    return Checked(sides, keys, tally.findings(), counts, skipped, time.perf_counter() - started)


def open_sides(files: Sequence[str], test: Sequence[str], columns: Mapping[str, str] | None) -> Sides:
    """Open all files; raises a `DataError` with what is wrong with each that cannot be read."""
    problems: list[Problem] = []
    opened = []
    for source in (*files, *test):
        with collecting(problems):
            opened.append((source, open_rows(source, columns=columns)))
    if problems:
        raise DataError(*problems)
    return Sides.of(opened, num_test=len(test))


def _tell_file(source: str, tally: Tally) -> None:
    path = Path(source).expanduser()
    if path.is_file() and kind_of(path) not in (None, ".parquet"):
        for kind, told in file_damages(path):
            tally.add(kind, partial(Shown, source, told))
