"""`ui_strings`: strings of a user interface in languages for which little text is to be had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from evidence.piece import Workshop
from evidence.tables import Row, plain
from scripts.samples import ui_strings
from scripts.samples.packages import fetch

LANGUAGES = {
    "br": "Breton",
    "ckb": "Central Kurdish",
    "cy": "Welsh",
    "dsb": "Lower Sorbian",
    "eu": "Basque",
    "fr": "French",
    "ga": "Irish",
    "gd": "Scottish Gaelic",
    "hsb": "Upper Sorbian",
    "is": "Icelandic",
    "kab": "Kabyle",
    "ky": "Kyrgyz",
    "os": "Ossetic",
    "sw": "Swahili",
    "tg": "Tajik",
    "tk": "Turkmen",
    "ug": "Uyghur",
}


def rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (source, target, language, language_name, group, split); the group is the English string."""
    found: list[Row] = [
        {
            "source": row["source"],
            "target": row["target"],
            "language": row["code"],
            "language_name": row["language"],
            "group": plain(str(row["source"])),
            "split": row["split"],
        }
        for row in ui_strings.cut(fetch("Django", workshop.cache), languages=LANGUAGES)
    ]
    return found, {"by_language": dict(sorted(Counter(str(row["language"]) for row in found).items()))}
