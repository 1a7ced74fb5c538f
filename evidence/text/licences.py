"""`licences`: notices as programs carry them and the category of the licence that each names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from evidence.piece import Workshop
from evidence.tables import Row, apart, capped, side
from scripts.samples.licences import notices, prose
from scripts.samples.packages import fetch

LENGTHS = range(60, 1501)
PER_LICENCE = {"train": 100, "validation": 50, "test": 50}


def rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (text, label, group, split); the group is the licence's key, at most 100 notices of each."""
    found: list[Row] = []
    for key, category, body in notices(fetch("licensedcode-data", workshop.cache)):
        text = prose(body)
        if len(text) in LENGTHS and "@" not in text:
            found.append({"text": text, "label": category, "group": key, "split": side(key)})
    kept = capped(apart(found, "text", label="group"), PER_LICENCE, key=lambda row: row["group"])
    counts = Counter(str(row["label"]) for row in kept)
    return kept, {"labels": dict(counts.most_common()), "licences": len({row["group"] for row in kept})}
