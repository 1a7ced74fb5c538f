"""Tables of descriptions with what Debian's people filed them under: sections, roles, languages, uses, sizes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

from evidence.debian.archive import STABLE, side_of, stable
from evidence.debian.index import Package
from evidence.piece import Workshop
from evidence.tables import Row, apart, capped

SECTIONS = (
    "admin",
    "database",
    "editors",
    "electronics",
    "fonts",
    "games",
    "graphics",
    "hamradio",
    "mail",
    "math",
    "net",
    "science",
    "sound",
    "text",
    "video",
    "web",
)
"""Those that are about a subject; the others follow from how a package is named."""

FEWEST = 100
"""Packages that a tag value needs to be a label."""

SIZES = {"train": 4000, "validation": 500, "test": 1000}


def section_rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (text, label, group, split): the section of a package, of sixteen."""
    apt, found = stable(workshop.cache)
    rows = [{**_row(package), "label": package.section} for package in found if package.section in SECTIONS]
    return _finished(rows, apt.date(STABLE))


def role_rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (text, label, group, split): what a package is (program, plugin, data …), where it is one thing."""
    return _single("role", workshop)


def language_rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (text, label, group, split): the language it is written in, where it is one."""
    return _single("implemented-in", workshop)


def use_rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (text, labels, group, split): all that a package is used for, of the more frequent uses."""
    apt, found = stable(workshop.cache)
    wanted = _frequent("use", found)
    rows: list[Row] = []
    for package in found:
        labels = sorted(set(package.tags.get("use", ())) & wanted)
        if labels:
            rows.append({**_row(package), "labels": labels})
    kept = capped(apart(rows, "text"), SIZES, key=lambda row: "")
    counted = Counter(len(row["labels"]) for row in kept if isinstance(row["labels"], list))
    facts = {"labels": sorted(wanted), "labels_a_row": dict(sorted(counted.items())), "index_date": apt.date(STABLE)}
    return kept, facts


def size_rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (text, target, group, split): the base-10 logarithm of the kilobytes that a package takes."""
    apt, found = stable(workshop.cache)
    rows: list[Row] = [
        {**_row(package), "target": round(math.log10(package.installed_kilobytes), 3)}
        for package in found
        if package.installed_kilobytes > 0
    ]
    return capped(apart(rows, "text"), SIZES, key=lambda row: ""), {"index_date": apt.date(STABLE)}


def _single(facet: str, workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    apt, found = stable(workshop.cache)
    wanted = _frequent(facet, found)
    rows: list[Row] = []
    for package in found:
        values = package.tags.get(facet, ())
        if len(values) == 1 and values[0] in wanted:
            rows.append({**_row(package), "label": values[0]})
    return _finished(rows, apt.date(STABLE))


def _frequent(facet: str, found: list[Package]) -> set[str]:
    counts = Counter(value for package in found for value in package.tags.get(facet, ()))
    return {value for value, count in counts.items() if count >= FEWEST and value.islower()}  # TODO is a tag too


def _row(package: Package) -> Row:
    return {"text": package.description.text, "group": package.source, "split": side_of(package.source)}


def _finished(rows: list[Row], date: str) -> tuple[list[Row], Mapping[str, object]]:
    kept = capped(apart(rows, "text", label="label"), SIZES, key=lambda row: "")
    counts = Counter(str(row["label"]) for row in kept)
    return kept, {"labels": dict(counts.most_common()), "index_date": date}
