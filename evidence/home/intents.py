"""`intents`: sentences in many languages and the intent of each, one label set for all; slots stay as {area}."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from evidence.piece import Workshop
from evidence.tables import Row
from scripts.samples import intents
from scripts.samples.packages import fetch

LANGUAGES = (
    "ar",
    "bg",
    "ca",
    "cs",
    "cy",
    "da",
    "de",
    "el",
    "en",
    "es",
    "eu",
    "fi",
    "fr",
    "ga",
    "gl",
    "hi",
    "hr",
    "hu",
    "is",
    "it",
    "ko",
    "lb",
    "lt",
    "lv",
    "ml",
    "nb",
    "ne",
    "nl",
    "pl",
    "pt",
    "pt-BR",
    "ro",
    "ru",
    "sk",
    "sl",
    "sr",
    "sv",
    "th",
    "uk",
    "vi",
    "zh-CN",
    "zh-TW",
)
"""Those with eighteen intents or more and enough templates to hold some out."""
PER_INTENT = {"train": 40, "validation": 4, "test": 8}


def rows(workshop: Workshop) -> tuple[list[Row], Mapping[str, object]]:
    """Return rows (text, label, language, group, split) and what was counted; the group is language and template."""
    cut = intents.cut(fetch("home-assistant-intents", workshop.cache), languages=LANGUAGES, per_intent=PER_INTENT)
    found: list[Row] = [
        {
            "text": row["text"],
            "label": row["intent"],
            "language": row["language"],
            "split": row["split"],
            "group": row["template"],
        }
        for row in cut
    ]
    tested = Counter(str(row["language"]) for row in found if row["split"] == "test")
    labels = {language: len({row["label"] for row in found if row["language"] == language}) for language in LANGUAGES}
    facts = {
        "languages": len(tested),
        "labels": len({row["label"] for row in found}),
        "labels_by_language": labels,
        "test_rows_by_language": dict(sorted(tested.items())),
    }
    return found, facts
