"""`debian_paragraphs`: running text about software, to go on with pre-training."""

from __future__ import annotations

from collections.abc import Mapping

from evidence.debian.apt import open_apt
from evidence.debian.archive import STABLE, side_of
from evidence.debian.index import packages
from evidence.piece import Workshop
from evidence.tables import Row, apart, capped

LENGTHS = range(200, 1201)
SIZES = {"train": 5000, "validation": 300, "test": 600}


def rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (text, group, split): distinct English paragraphs; the group is the first source with it."""
    apt = open_apt(workshop.cache)
    found: list[Row] = []
    for package in sorted(packages(apt, STABLE), key=lambda package: package.source):
        for paragraph in package.description.paragraphs:
            if len(paragraph) in LENGTHS:
                split = side_of(package.source)
                found.append({"text": paragraph, "group": package.source, "split": split})
    return capped(apart(found, "text"), SIZES, key=lambda row: ""), {"index_date": apt.date(STABLE)}
