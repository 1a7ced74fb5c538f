"""Debian's indexes: control files are read as deb-control(5) says, packages joined with their descriptions."""

from __future__ import annotations

from pathlib import Path

import pytest

from evidence.debian.apt import Apt, archive_of, open_apt
from evidence.debian.archive import cap_families, family, side_of
from evidence.debian.index import (
    Description,
    Package,
    descriptions,
    one_per_source,
    packages,
    parse_description,
    parse_tags,
    stanzas,
)
from evidence.debian.questions import asked
from evidence.debian.translations import pairs
from tenfold.errors import DataError

PACKAGES = """\
Package: bibtool
Source: bib-tools (2.68)
Installed-Size: 990
Description: tool to manipulate BibTeX files
Description-md5: d1
Tag: implemented-in::c, role::{program,plugin},
 use::editing
Section: contrib/tex

Package: unspoken
Description-md5: d2
Section: misc
"""
ENGLISH = """\
Package: bibtool
Description-md5: d1
Description-en: tool to manipulate BibTeX files
 It sorts
 and merges.
 .
 Features:
  * speed
 .
 That is all.
"""
FIELD = "short\n First line\n goes on.\n .\n  code here\n .\n Last."


def package(name: str, source: str = "", text: str = "A text.", **tags: str) -> Package:
    facets = {facet.replace("_", "-"): tuple(values.split()) for facet, values in tags.items()}
    return Package(name, source or name, "misc", facets, 1, name, Description("a synopsis", (text,)))


@pytest.fixture
def apt(tmp_path: Path) -> Apt:
    apt = Apt(tmp_path)
    apt.lists.mkdir(parents=True)
    prefix = "mirror_debian_dists_sid"
    (apt.lists / f"{prefix}_main_binary-amd64_Packages").write_text(PACKAGES, encoding="utf-8")
    (apt.lists / f"{prefix}_main_i18n_Translation-en").write_text(ENGLISH, encoding="utf-8")
    (apt.lists / f"{prefix}_main_i18n_Translation-pt%5fBR").write_text(
        ENGLISH.replace("Description-en", "Description-pt_BR"), encoding="utf-8"
    )
    (apt.lists / f"{prefix}_InRelease").write_text("Origin: Debian\nDate: Fri, 30 Oct 2026\n", encoding="utf-8")
    return apt


def test_stanzas_keep_the_lines_of_a_field() -> None:
    found = list(stanzas(["A: 1\n", "B: two\n", "  three\n", "\n", "\n", "A: 4\n"]))
    assert found == [{"A": "1", "B": "two\n  three"}, {"A": "4"}]


def test_a_description_is_its_synopsis_and_its_prose() -> None:
    assert parse_description(FIELD) == Description("short", ("First line goes on.", "Last."))


def test_tags_are_read_in_both_spellings() -> None:
    assert parse_tags("role::{program,plugin}, use::editing,\n works-with-format::xml:rss") == {
        "role": ("program", "plugin"),
        "use": ("editing",),
        "works-with-format": ("xml:rss",),
    }


def test_packages_are_joined_with_their_descriptions(apt: Apt) -> None:
    (found,) = packages(apt, "sid")
    assert (found.name, found.source, found.section) == ("bibtool", "bib-tools", "tex")
    assert found.tags["role"] == ("program", "plugin") and found.installed_kilobytes == 990
    assert found.description.paragraphs == ("It sorts and merges.", "That is all.")


def test_a_language_with_an_underscore_is_found(apt: Apt) -> None:
    assert set(descriptions(apt, "sid", "pt_BR")) == {"d1"}
    assert apt.date("sid") == "Fri, 30 Oct 2026"


def test_an_index_that_is_missing_is_named(apt: Apt) -> None:
    with pytest.raises(DataError, match="no Packages of bookworm"):
        apt.index("bookworm", "Packages")


def test_the_archive_is_the_one_that_the_machine_uses() -> None:
    assert archive_of("http://one/other\nhttp://two/debian-security\nhttp://three/debian/\n") == "http://three/debian/"
    with pytest.raises(DataError, match="name no Debian archive"):
        archive_of("http://one/ubuntu\n")


def test_a_machine_without_apt_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="apt-get: is not installed"):
        open_apt(tmp_path / "cache")


def test_each_source_gives_its_best_described_package() -> None:
    found = one_per_source([package("a", "s", "Short."), package("b", "s", "Much longer."), package("c")])
    assert [own.name for own in found] == ["b", "c"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("python3-click-shell", "python3"),
        ("golang-github-x-dev", "golang"),
        ("libfoo-bar-perl", "perl"),
        ("libghc-split-prof", "libghc"),
        ("gcc-15-cross", "toolchain"),
        ("gfortran-14", "toolchain"),
        ("librust-serde-dev", "librust"),
        ("3cpio", "other"),
        ("libreoffice-writer", "other"),
    ],
)
def test_families_are_told_by_name(name: str, expected: str) -> None:
    assert family(name) == expected


def test_families_are_capped_and_single_packages_are_not() -> None:
    toolchains = [package(f"gcc-{number:02}-cross") for number in range(9)]
    singles = [package(f"tool{number}") for number in range(9)]
    kept = [own.name for own in cap_families([*toolchains, *singles])]
    assert sum(name.startswith("gcc") for name in kept) == 5
    assert sum(name.startswith("tool") for name in kept) == 9


def test_a_question_is_asked_where_one_tagged_thing_is_mentioned() -> None:
    own = package(
        "viewer", text="A viewer for PDF files, written in C++ with GTK+ 3.", uitoolkit="gtk", implemented_in="c c++"
    )
    found = {str(row["question"]): row for row in asked(own)}
    assert len(found) == 2
    for row in found.values():
        answers = row["answers"]
        assert isinstance(answers, dict)
        start, text = answers["answer_start"][0], answers["text"][0]
        assert str(row["context"])[start : start + len(text)] == text
        assert row["split"] == side_of("viewer")
    assert found["Which programming language is it written in?"]["answers"] == {"text": ["C++"], "answer_start": [35]}


def test_rivals_are_the_other_likely_answers_in_the_text() -> None:
    (row,) = asked(package("a", text="Written in Perl, not in Python or OCaml.", implemented_in="perl"))
    assert row["rivals"] == 2
    (row,) = asked(package("b", text="Written in Perl.", implemented_in="perl"))
    assert row["rivals"] == 0


def test_no_question_where_two_or_none_are_mentioned() -> None:
    assert not list(asked(package("a", text="From Python to Perl.", implemented_in="python perl")))
    assert not list(asked(package("b", text="Nothing is said.", implemented_in="python")))
    assert not list(asked(package("c", text="The C shell and the C library.", implemented_in="c")))


def test_paragraphs_are_paired_only_where_they_match() -> None:
    first, second = "A paragraph that is long enough to be kept.", "Another one that is long enough to be kept."
    assert list(pairs((first, second), ("Premier.", "Deuxième."))) == [(first, "Premier."), (second, "Deuxième.")]
    assert not list(pairs((first, second), ("Premier.",)))
    assert not list(pairs((first,), (first.upper(),)))
    assert not list(pairs(("Short.",), ("Court.",)))
