"""`diseases`: names of diseases and their definitions, as UniProt's curators wrote them."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

from .rows import Row, draw, drop_repeats, one_line, plain, side

ROWS = 1200
PER_STEM = 6
LENGTHS = range(80, 901)
OPENING = 120
"""Letters of a definition that make two diseases one group when they agree."""


def cut(package: Path) -> list[Row]:
    """Return rows (name, definition, keywords, stem, group, split); no group is on two sides."""
    taken: dict[object, int] = defaultdict(int)
    kept: list[Row] = []
    for row in sorted(definitions(package), key=lambda row: draw("diseases", row["name"])):
        taken[row["stem"]] += 1
        if taken[row["stem"]] <= PER_STEM:
            kept.append(row)
    return sorted(kept[:ROWS], key=lambda row: (str(row["stem"]), str(row["name"])))


def definitions(package: Path) -> list[Row]:
    """Return every disease of usable length; one row for each wording, whatever it is numbered."""
    path = package / "trytond/modules/health_genetics_uniprot/data/protein_diseases.xml"
    rows: list[Row] = []
    for record in ElementTree.parse(path).iter("record"):
        fields = {field.get("name"): one_line(field.text or "") for field in record.iter("field")}
        name, definition = fields["disease_name"], fields["description"]
        if len(definition) in LENGTHS:
            keywords = [word.strip() for word in fields["keywords"].split(",") if word.strip()]
            rows.append({"name": name, "definition": definition, "keywords": keywords})
    for row in rows:
        row["stem"] = stem(str(row["name"]))
    for row, group in zip(rows, _groups(rows), strict=True):
        row |= {"group": group, "split": side(group, validation=0.12, test=0.22)}
    return drop_repeats(drop_repeats(rows, "definition"), "name")


def _groups(rows: list[Row]) -> list[str]:
    """Return each row's group: joined by an equal name stem or an equal start of the definition, in chains."""
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            key = parent[key]
        return key

    for row in rows:
        # The blank in front keeps an opening from being taken for a stem.
        opening = " " + plain(str(row["definition"]))[:OPENING]
        parent[root(opening)] = root(str(row["stem"]))
    return [root(str(row["stem"])) for row in rows]


def stem(name: str) -> str:
    """Return a disease's name without what tells its variants apart: numbers, letters, inheritance."""
    text = re.sub(r"\(.*?\)", " ", name.casefold())
    text = re.split(r",\s| with | due to | type | and ", text)[0]
    text = re.sub(r"\b(autosomal|x-linked|y-linked|dominant|recessive|somatic|susceptibility to)\b", " ", text)
    words = re.findall(r"[^\W\d_][\w'-]*", text)
    while len(words) > 1 and re.fullmatch(r"[a-z]|[ivx]+|[ivx]+[a-z]", words[-1]):
        words.pop()
    return " ".join(words)
