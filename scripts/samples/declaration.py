"""`declaration`: the thirty articles of the Universal Declaration of Human Rights in 29 languages."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

from .rows import Row, draw, one_line

CODES = (
    "arb",
    "bre",
    "cmn_hans",
    "cym",
    "deu_1996",
    "ell_monotonic",
    "eng",
    "eus",
    "fin",
    "fra",
    "gle",
    "hau_NG",
    "hin",
    "hun",
    "isl",
    "ita",
    "jpn",
    "kin",
    "mri",
    "nld",
    "pol",
    "por_BR",
    "quz",
    "ron_2006",
    "rus",
    "spa",
    "swh",
    "tur",
    "yor",
)
ARTICLES = 30
TEST_ARTICLES = 6
VALIDATION_ARTICLES = 3


def cut(package: Path) -> list[Row]:
    """Return rows (article, code, language, text, split), grouped by article across languages."""
    order = sorted(range(1, ARTICLES + 1), key=lambda article: draw("declaration", article))
    held_out = TEST_ARTICLES + VALIDATION_ARTICLES
    sides = {article: "validation" for article in order[TEST_ARTICLES:held_out]}
    sides |= {article: "test" for article in order[:TEST_ARTICLES]}
    rows: list[Row] = []
    for code in CODES:
        page = _page(package, code)
        language = unescape(re.findall(r"<title>(.*?)</title>", page)[0])
        found = re.findall(r'<article data-number="(\d+)">(.*?)</article>', page, re.DOTALL)
        assert [int(number) for number, _ in found] == list(range(1, ARTICLES + 1)), code
        for number, body in found:
            split = sides.get(int(number), "train")
            row = {"article": int(number), "code": code, "language": language, "text": _text(body)}
            rows.append({**row, "split": split})
    return rows


def preamble(package: Path) -> list[str]:
    """Return the English preamble, paragraph by paragraph; none of it is in the set's rows."""
    header = re.findall(r"<header>(.*?)</header>", _page(package, "eng"), re.DOTALL)[0]
    return [_text(paragraph) for paragraph in re.findall(r"<p>.*?</p>", header, re.DOTALL)]


def _page(package: Path, code: str) -> str:
    return (package / "package" / "declaration" / f"{code}.html").read_text(encoding="utf-8")


def _text(body: str) -> str:
    without_title = re.sub(r"<h2>.*?</h2>", " ", body, flags=re.DOTALL)
    return one_line(unescape(re.sub(r"<[^>]+>", " ", without_title)))
