"""`debian_synopsis`: long description to one-line synopsis; and the same with the synopsis in French.

What is tested was never in a Debian release before this year's, so a model can hardly have seen it.
"""

from __future__ import annotations

from collections.abc import Mapping

from evidence.debian.archive import NEWEST, STABLE, newcomers, prompt, side_of, stable
from evidence.debian.index import descriptions
from evidence.piece import Workshop
from evidence.tables import Row, apart, capped

SIZES = {"train": 8000, "validation": 400, "test": 2500}
SIZES_FRENCH = {"train": 3000, "validation": 200, "test": 400}


def rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (prompt, completion, group, split) and the dates of the indexes; the group is the source."""
    apt, old = stable(workshop.cache)
    found: list[Row] = []
    for package in old:
        # The sources that other tables test stay out of training here too.
        split = side_of(package.source)
        if split != "test":
            found.append({**_pair(prompt(package), package.description.synopsis, package.source), "split": split})
    for package in newcomers(apt):
        pair = _pair(prompt(package), package.description.synopsis, package.source)
        found.append({**pair, "split": "test"})
    kept = capped(apart(found, "prompt", letters=260), SIZES, key=lambda row: "")
    return kept, {"index_dates": {STABLE: apt.date(STABLE), NEWEST: apt.date(NEWEST)}}


def french_rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (prompt, completion, group, split): English description, the French translators' synopsis."""
    apt, old = stable(workshop.cache)
    french = descriptions(apt, STABLE, "fr")
    found: list[Row] = []
    for package in old:
        target = french.get(package.digest)
        if target and target.synopsis != package.description.synopsis:
            asked = prompt(package).replace(" in one line.", " in one line of French.", 1)
            pair = _pair(asked, target.synopsis, package.source)
            found.append({**pair, "split": side_of(package.source)})
    kept = capped(apart(found, "prompt", letters=260), SIZES_FRENCH, key=lambda row: "")
    return kept, {"index_date": apt.date(STABLE)}


def _pair(asked: str, answer: str, source: str) -> Row:
    return {"prompt": asked, "completion": answer, "group": source}
