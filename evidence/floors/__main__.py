"""Measure the floors: `python -m evidence.floors [TABLE…]` writes evidence/floors.json and evidence/FLOORS.md."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from evidence.floors import labelled, spans, written
from evidence.floors.figures import Floors
from evidence.floors.page import write_page
from evidence.piece import RECORD, record
from evidence.tables import Row, read
from tenfold.files import write_json

FOLDER = Path(__file__).parent.parent
SEED = 0
LIBRARIES = ("scikit-learn", "sacrebleu", "rouge_score", "numpy")

Measure = Callable[[list[Row], list[Row]], Floors]


def _classes(train: list[Row], test: list[Row]) -> Floors:
    return labelled.classes(train, test, analyzer=labelled.WORDS, seed=SEED)


def _classes_by_letters(train: list[Row], test: list[Row]) -> Floors:
    return labelled.classes(train, test, analyzer=labelled.LETTERS, seed=SEED)


def _preferences(train: list[Row], test: list[Row]) -> Floors:
    del train
    return written.preferences(test)


MEASURES: Mapping[str, Measure] = {
    "debian_sections": _classes,
    "debian_roles": _classes,
    "debian_languages": _classes,
    "licences": _classes,
    "diseases": _classes_by_letters,
    "debian_uses": lambda train, test: labelled.several(train, test, seed=SEED),
    "debian_sizes": lambda train, test: labelled.numbers(train, test, seed=SEED),
    "intents": lambda train, test: labelled.languages(train, test, source="en", seed=SEED),
    "entities": lambda train, test: spans.entities(train, test, seed=SEED),
    "questions": spans.questions,
    "debian_synopsis": written.summaries,
    "debian_synopsis_fr": written.summaries,
    "disease_definitions": written.answers,
    "docstrings": written.answers,
    "debian_translations": written.translations,
    "ui_strings": written.translations,
    "debian_edits": _preferences,
    "debian_siblings": _preferences,
}
"""What is measured on each table; recorded speech has the untuned recogniser as its floor (evidence/checks.json)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the named tables, or all, print and keep the figures; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m evidence.floors", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TABLE", help=", ".join(MEASURES))
    parser.add_argument("--data", type=Path, default=FOLDER / "data")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(MEASURES))
    if unknown:
        parser.error(f"no table {unknown[0]!r}; there are {', '.join(MEASURES)}")
    path = FOLDER / "floors.json"
    kept: dict[str, object] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for name in options.names or MEASURES:
        kept[name] = _measured(name, options.data / "tables" / name)
        print(f"{name}: {kept[name]}", flush=True)
        write_json(path, {name: kept[name] for name in MEASURES if name in kept})
    write_page(FOLDER / "FLOORS.md", kept)
    return 0


def _measured(name: str, folder: Path) -> dict[str, object]:
    if not (folder / RECORD).is_file():
        raise SystemExit(f"{folder} is not there: run python -m evidence.prepare {name}")
    train, test = read(folder, "train"), read(folder, "test")
    started = time.monotonic()
    floors = MEASURES[name](train, test)
    versions = {library: importlib.metadata.version(library) for library in LIBRARIES}
    return {
        "floors": floors,
        "rows": {"train": len(train), "test": len(test)},
        "table_made": record(folder)["made"],
        "measured": time.strftime("%Y-%m-%d"),
        "seconds": round(time.monotonic() - started, 1),
        "seed": SEED,
        "versions": {"python": platform.python_version(), **versions},
    }


if __name__ == "__main__":
    sys.exit(main())
