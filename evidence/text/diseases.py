"""`diseases` and `disease_definitions`: what UniProt's curators wrote about diseases, and the keywords they gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from evidence.piece import Workshop
from evidence.tables import Row, apart, side
from scripts.samples import diseases
from scripts.samples.packages import fetch

KEYWORDS = 12
PACKAGE = "gnuhealth-genetics-uniprot"


def keyword_rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (text, label, group, split): definitions with exactly one of the twelve most frequent keywords."""
    found = diseases.definitions(fetch(PACKAGE, workshop.cache))
    counts = Counter(keyword for row in found for keyword in _keywords(row))
    wanted = {keyword for keyword, _ in counts.most_common(KEYWORDS)}
    rows: list[Row] = []
    for row in found:
        labels = wanted & set(_keywords(row))
        if len(labels) == 1:
            rows.append({"text": row["definition"], "label": labels.pop(), **_place(row, test=0.3)})
    kept = apart(rows, "text", label="label")
    return kept, {"labels": dict(Counter(str(row["label"]) for row in kept).most_common())}


def definition_rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (prompt, completion, group, split): a disease's name and its definition."""
    found = diseases.definitions(fetch(PACKAGE, workshop.cache))
    rows: list[Row] = [
        {
            "prompt": f"Define this disease: {row['name']}",
            "completion": row["definition"],
            **_place(row, test=0.2),
        }
        for row in found
    ]
    return apart(rows, "completion"), {}


def _keywords(row: Row) -> list[str]:
    keywords = row["keywords"]
    assert isinstance(keywords, list)
    return keywords


def _place(row: Row, *, test: float) -> Row:
    return {"group": row["group"], "split": side("diseases", row["group"], validation=0.1, test=test)}
