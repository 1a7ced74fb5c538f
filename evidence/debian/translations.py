"""`debian_translations`: paragraphs of descriptions and what translators made of them, in many languages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from evidence.debian.apt import Apt, open_apt
from evidence.debian.archive import STABLE, side_of
from evidence.debian.index import Package, descriptions, packages
from evidence.piece import Workshop
from evidence.tables import Row, apart, capped, plain

LANGUAGES = ("da", "de", "es", "fr", "it", "ja", "ko", "pl", "pt_BR", "ru", "sk", "uk")
LENGTHS = range(40, 601)
SIZES = {"train": 4000, "validation": 200, "test": 400}


def rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (source, target, language, group, split) and what was counted; the group is a source package.

    A paragraph that several packages share belongs to the first of their sources.
    """
    apt = open_apt(workshop.cache)
    found = packages(apt, STABLE)
    owners = _owners(found)
    kept: list[Row] = []
    for language in LANGUAGES:
        kept += capped(_one_language(apt, language, found, owners), SIZES, key=lambda row: "")
    counts = {
        language: [
            sum(row["language"] == language and row["split"] == split for row in kept)
            for split in ("train", "validation", "test")
        ]
        for language in LANGUAGES
    }
    return kept, {"by_language": counts, "index_date": apt.date(STABLE)}


def _owners(found: list[Package]) -> dict[str, str]:
    """Return for each paragraph, by how it starts, the first source package in whose descriptions it stands.

    The start is what `apart` compares, so one start has one owner, and is on one side in all languages.
    """
    owners: dict[str, str] = {}
    for package in sorted(found, key=lambda package: package.source):
        for paragraph in package.description.paragraphs:
            owners.setdefault(_start(paragraph), package.source)
    return owners


def _start(paragraph: str) -> str:
    return plain(paragraph)[:200]


def _one_language(apt: Apt, language: str, found: list[Package], owners: dict[str, str]) -> list[Row]:
    translated = descriptions(apt, STABLE, language)
    rows: list[Row] = []
    for package in found:
        if package.digest in translated:
            for source, target in pairs(package.description.paragraphs, translated[package.digest].paragraphs):
                owner = owners[_start(source)]
                row = {"source": source, "target": target, "language": language}
                rows.append({**row, "group": owner, "split": side_of(owner)})
    return apart(rows, "source")


def pairs(sources: tuple[str, ...], targets: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield paragraphs and their translations; none where the two descriptions have not as many paragraphs."""
    if len(sources) != len(targets):
        return
    for source, target in zip(sources, targets, strict=True):
        if len(source) in LENGTHS and plain(source) != plain(target):
            yield source, target
