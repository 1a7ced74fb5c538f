"""Which packages a Debian release has and what is said of each: `Packages` joined with the English descriptions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from evidence.debian.apt import Apt

Stanza = dict[str, str]


@dataclass(frozen=True)
class Description:
    """A one-line `synopsis`, and the paragraphs that follow it, each on one line; lists and code are left out."""

    synopsis: str
    paragraphs: tuple[str, ...]

    @property
    def text(self) -> str:
        """The paragraphs, parted by blank lines."""
        return "\n\n".join(self.paragraphs)


@dataclass(frozen=True)
class Package:
    """A binary package: the source it is built from, its section, its tags by facet, and what it is said to be.

    `installed_kilobytes` is the room that it takes; 0 where the index does not say.
    """

    name: str
    source: str
    section: str
    tags: Mapping[str, tuple[str, ...]]
    installed_kilobytes: int
    digest: str
    description: Description


def stanzas(lines: Iterable[str]) -> Iterator[Stanza]:
    """Yield the records of a control file; the lines of a long field keep their line ends and first blanks.

    Source: deb-control(5).
    """
    current: Stanza = {}
    key = ""
    for line in lines:
        line = line.rstrip("\n")
        if not line:
            if current:
                yield current
            current, key = {}, ""
        elif line[0] in " \t":
            current[key] += "\n" + line
        else:
            key, _, value = line.partition(":")
            current[key] = value.strip()
    if current:
        yield current


def parse_description(field: str) -> Description:
    """Return what a Description field says: its first line, and paragraphs parted by lines with a single dot."""
    synopsis, *lines = field.split("\n")
    paragraphs: list[list[str]] = [[]]
    for line in lines:
        if line.strip() == ".":
            paragraphs.append([])
        else:
            paragraphs[-1].append(line)
    kept = [" ".join(" ".join(lines).split()) for lines in paragraphs if lines and _is_prose(lines)]
    return Description(" ".join(synopsis.split()), tuple(text for text in kept if text))


def _is_prose(lines: list[str]) -> bool:
    """Tell a paragraph from a list or from preformatted text, whose lines start with more than one blank."""
    return not any(line.startswith("  ") or re.match(r" [*+o•-] ", line) for line in lines)


def parse_tags(field: str) -> dict[str, tuple[str, ...]]:
    """Return the values of each facet: `role::{program,plugin}` or `role::program, use::editing`."""
    facets: dict[str, list[str]] = {}
    for facet, several, single in re.findall(r"([\w-]+)::(?:\{([^}]*)\}|([^,\s]+))", field):
        facets.setdefault(facet, []).extend(several.split(",") if several else [single])
    return {facet: tuple(values) for facet, values in facets.items()}


def packages(apt: Apt, suite: str) -> list[Package]:
    """Return the packages of `suite` that have an English description, by name."""
    described = descriptions(apt, suite, "en")
    found: list[Package] = []
    with apt.index(suite, "Packages").open(encoding="utf-8") as lines:
        for stanza in stanzas(lines):
            digest = stanza.get("Description-md5", "")
            if digest in described:
                found.append(
                    Package(
                        name=stanza["Package"],
                        source=stanza.get("Source", stanza["Package"]).split(" ")[0],
                        section=stanza.get("Section", "").rpartition("/")[2],
                        tags=parse_tags(stanza.get("Tag", "")),
                        installed_kilobytes=int(stanza.get("Installed-Size", 0)),
                        digest=digest,
                        description=described[digest],
                    )
                )
    return sorted(found, key=lambda package: package.name)


def descriptions(apt: Apt, suite: str, language: str) -> dict[str, Description]:
    """Return the descriptions in `language` by the MD5 of the English one, which joins them to packages."""
    with apt.index(suite, f"Translation-{language}").open(encoding="utf-8") as lines:
        key = f"Description-{language}"
        return {stanza["Description-md5"]: parse_description(stanza[key]) for stanza in stanzas(lines) if key in stanza}


def one_per_source(found: Iterable[Package]) -> list[Package]:
    """Return for each source the package with the longest description; of equal ones the first by name."""
    best: dict[str, Package] = {}
    for package in found:
        held = best.setdefault(package.source, package)
        if len(package.description.text) > len(held.description.text):
            best[package.source] = package
    return list(best.values())
