"""The packages of the releases that the tables are cut from, and what every such table shares: splits and prompts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from evidence.debian.apt import Apt, open_apt
from evidence.debian.index import Package, one_per_source, packages
from evidence.tables import side

STABLE, NEWEST = "bookworm", "sid"
EARLIER = ("bullseye", "bookworm", "trixie")
LENGTHS = range(120, 1501)
INSTRUCTION = "Summarise this description of a software package in one line."

FAMILIES = r"python3?|golang|node|librust|ruby|r|libghc|dart|elpa|fonts|php|lib\w+(?=.*-(?:perl|java|ocaml)\b)"
TOOLCHAIN = r".*-cross\b|(?:gcc|g\+\+|gfortran|gnat|gdc|gm2|libfortran|libgfortran|libgcc|lib\w*stdc\+\+|binutils)\b"
FAMILY_SIZES = {"toolchain": 5, "other": 1_000_000}
FAMILY_SIZE = 100
"""How many packages of one family are tested: their descriptions are near copies of one another."""


def stable(cache: Path) -> tuple[Apt, list[Package]]:
    """Return the private apt directory and one package a source of the stable release, with descriptions to use."""
    apt = open_apt(cache)
    return apt, [package for package in one_per_source(packages(apt, STABLE)) if has_text(package)]


def newcomers(apt: Apt) -> list[Package]:
    """Return one package for each source that is in the newest release and in none before it, families capped."""
    known = {package.source for suite in EARLIER for package in packages(apt, suite)}
    fresh = [package for package in packages(apt, NEWEST) if package.source not in known]
    return cap_families(package for package in one_per_source(fresh) if has_text(package))


def cap_families(found: Iterable[Package]) -> list[Package]:
    """Return the packages, at most `FAMILY_SIZE` of each family, the first by name."""
    taken: dict[str, int] = {}
    kept: list[Package] = []
    for package in sorted(found, key=lambda package: package.name):
        own = family(package.name)
        taken[own] = taken.get(own, 0) + 1
        if taken[own] <= FAMILY_SIZES.get(own, FAMILY_SIZE):
            kept.append(package)
    return kept


def family(name: str) -> str:
    """Return the family of packages, named after one scheme, that `name` belongs to, or `other`."""
    if re.match(TOOLCHAIN, name):
        return "toolchain"
    found = re.match(rf"(?:{FAMILIES})-", name)
    if not found:
        return "other"
    language = re.search(r"-(perl|java|ocaml)\b", name)
    return language[1] if language and found[0].startswith("lib") else found[0].rstrip("-")


def has_text(package: Package) -> bool:
    """Tell whether the description is neither too short nor too long to be learned from."""
    return len(package.description.text) in LENGTHS


def side_of(source: str) -> str:
    """Return the split of a source package: the same in every table, so that several can be trained together."""
    return side("debian", source)


def prompt(package: Package) -> str:
    """Return the task of summarising; the package's name is not told."""
    return f"{INSTRUCTION}\n\n{package.description.text}"
