"""Rows without any fault, and secrets that are put together here so that no scanner finds them in this file."""

from __future__ import annotations

import json
import random
from pathlib import Path

_SUBJECTS = [
    "The baker",
    "My neighbour",
    "A tired pilot",
    "The old gardener",
    "Our teacher",
    "The young doctor",
    "A quiet farmer",
]
_VERBS = [
    "repairs",
    "paints",
    "forgets",
    "describes",
    "carries",
    "borrows",
    "measures",
    "photographs",
    "weighs",
    "collects",
    "sells",
]
_THINGS = [
    "a copper kettle",
    "seven wooden chairs",
    "the garden gate",
    "an accordion",
    "two heavy maps",
    "the blue bicycle",
]
_WHERE = [
    "behind the station",
    "near the harbour",
    "on the roof",
    "at the market",
    "in a cold cellar",
    "under the bridge",
]
_WHEN = ["before sunrise", "every Tuesday", "while it rains", "after the concert", "in late autumn", "without a word"]

PRIVATE_KEY = "-----BEGIN RSA " + "PRIVATE KEY-----"
AWS = "AK" + "IA" + "J7QXW2M4ZP5RTV6B"
GITHUB = "gh" + "p_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"
OPENAI = "s" + "k-proj-" + "Ab3dEf6hIj9kLm2nOp5qRs8tUv1w"
JWT = ".".join(("ey" + "JhbGciOiJIUzI1NiJ9", "ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0", "dozjgNryP4J3jVmNHl0w5N"))
EMAIL = "maria.lopez@" + "wanderlust-travel.org"
PHONE = "+49 30 " + "901820"
CARD = "4539 5787 " + "6362 1486"
IBAN = "DE89 3704 " + "0044 0532 0130 00"


def sentence(place: random.Random) -> str:
    """Return a sentence of about ten words."""
    return " ".join(place.choice(words) for words in (_SUBJECTS, _VERBS, _THINGS, _WHERE, _WHEN)) + "."


def clean_rows(number: int, seed: int = 0) -> list[dict[str, str]]:
    """Return prompts with answers of three sentences each, all of them different."""
    place = random.Random(seed)
    return [
        {
            "prompt": f"Question {seed}-{each}: tell me what {sentence(place)}",
            "completion": " ".join(sentence(place) for _ in range(3)),
        }
        for each in range(number)
    ]


def write_rows(path: Path, rows: list[dict[str, str]]) -> str:
    """Write rows as JSON Lines and return the file's path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)
