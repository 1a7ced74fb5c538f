"""`licences`: notices as programs carry them, with the licence they name and its category."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from .rows import Row, draw, drop_repeats, one_line, side

CATEGORIES = (
    "Copyleft",
    "Copyleft Limited",
    "Permissive",
    "Proprietary Free",
    "Public Domain",
    "Source-available",
)
PER_LICENCE = 20
PER_CATEGORY = {"train": 280, "validation": 40, "test": 90}
LENGTHS = range(60, 601)


def cut(package: Path) -> list[Row]:
    """Return rows (text, category, licence, split), grouped by licence key."""
    candidates: list[Row] = []
    for key, category, body in notices(package):
        text = prose(body)
        if len(text) in LENGTHS and "@" not in text:
            split = side(key, validation=0.1, test=0.2)
            candidates.append({"text": text, "category": category, "licence": key, "split": split})
    return _capped(drop_repeats(candidates, "text", label="licence"))


def notices(package: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (licence key, its category, text as it was found) of the notices that name one licence of `CATEGORIES`."""
    data = package / "licensedcode" / "data"
    categories = {path.stem: _header(path)[0].get("category", "") for path in data.glob("licenses/*.LICENSE")}
    for path in sorted(data.glob("rules/*.RULE"), key=lambda path: path.name):
        header, body = _header(path)
        key = header.get("license_expression", "")
        wanted = header.get("is_license_notice") == "yes" and categories.get(key) in CATEGORIES
        if wanted and "is_deprecated" not in header:
            yield key, categories[key], body


def _header(path: Path) -> tuple[dict[str, str], str]:
    """Return a rule's one-line YAML keys and its text."""
    _, header, body = re.split(r"^---$", path.read_text(encoding="utf-8"), maxsplit=2, flags=re.MULTILINE)
    return dict(re.findall(r"^(\w+): (.+)$", header, re.MULTILINE)), body


def prose(body: str) -> str:
    """Return a notice without the comment signs and tags of the file it was found in."""
    return uncommented(re.sub(r"\{\{|\}\}", " ", body))


def uncommented(body: str) -> str:
    """Return the same with the {{brackets}} that mark what has to stand in such a notice."""
    without_tags = re.sub(r"</?[a-zA-Z]+>", " ", body)
    return one_line(re.sub(r"^[\s*#/;%|!-]+|[\s*#/|]+$", " ", without_tags, flags=re.MULTILINE))


def _capped(rows: list[Row]) -> list[Row]:
    by_licence: dict[object, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: draw("licences", row["text"])):
        by_licence[row["licence"]].append(row)
    by_category: dict[tuple[object, object], list[Row]] = defaultdict(list)
    # Turn by turn over the licences, so that rare ones are in before common ones fill the cap.
    for turn in range(PER_LICENCE):
        for licence in sorted(by_licence, key=lambda licence: draw("licence", licence)):
            for row in by_licence[licence][turn : turn + 1]:
                by_category[row["category"], row["split"]].append(row)
    kept = [row for (_, split), found in by_category.items() for row in found[: PER_CATEGORY[str(split)]]]
    return sorted(kept, key=lambda row: (str(row["licence"]), str(row["text"])))
