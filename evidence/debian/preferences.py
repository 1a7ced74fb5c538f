"""Pairs of synopses of which one is better: by a maintainer's later edit, or because the other is a sibling's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from evidence.debian.apt import open_apt
from evidence.debian.archive import NEWEST, STABLE, has_text, prompt, side_of
from evidence.debian.index import Package, packages
from evidence.piece import Workshop
from evidence.tables import Row, apart, capped, draw, plain

OLDEST = "bullseye"
SIZES = {"train": 3000, "validation": 200, "test": 500}


def edit_rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (prompt, chosen, rejected, change, group, split).

    The description is the same in both releases; the later synopsis is chosen, the earlier one rejected. `change`
    tells whether words changed or only case and punctuation.
    """
    apt = open_apt(workshop.cache)
    before = {package.name: package.description for package in packages(apt, OLDEST)}
    found: list[Row] = []
    for package in packages(apt, NEWEST):
        old = before.get(package.name)
        new = package.description
        if old and old.paragraphs == new.paragraphs and old.synopsis != new.synopsis and has_text(package):
            change = "spelling" if plain(old.synopsis) == plain(new.synopsis) else "words"
            found.append({**_pair(package, new.synopsis, old.synopsis), "change": change})
    kept = apart(found, "prompt", letters=260)
    dates = {OLDEST: apt.date(OLDEST), NEWEST: apt.date(NEWEST)}
    return kept, {"changes": dict(Counter(str(row["change"]) for row in kept)), "index_dates": dates}


def sibling_rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (prompt, chosen, rejected, group, split): the rejected synopsis is of another package of the source.

    One row a source.
    """
    apt = open_apt(workshop.cache)
    families: dict[str, list[Package]] = {}
    for package in packages(apt, STABLE):
        if has_text(package):
            families.setdefault(package.source, []).append(package)
    found: list[Row] = []
    for siblings in families.values():
        first, *others = sorted(siblings, key=lambda package: draw("sibling", package.name))
        for other in others:
            if plain(other.description.synopsis) != plain(first.description.synopsis) and (
                other.description.paragraphs != first.description.paragraphs
            ):
                found.append(_pair(first, first.description.synopsis, other.description.synopsis))
                break
    kept = capped(apart(found, "prompt", letters=260), SIZES, key=lambda row: "")
    return kept, {"index_date": apt.date(STABLE)}


def _pair(package: Package, chosen: str, rejected: str) -> Row:
    split = side_of(package.source)
    row = {"prompt": prompt(package), "chosen": chosen, "rejected": rejected}
    return {**row, "group": package.source, "split": split}
