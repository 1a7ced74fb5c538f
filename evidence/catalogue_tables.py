"""The tables, with what a reader has to know about each."""

from __future__ import annotations

from evidence.home import intents
from evidence.piece import Piece, TableMaker

INTENTS_PACKAGE = "home-assistant-intents 2026.10.27 (PyPI), sentence templates written by people"

TABLES = (
    Piece(
        name="intents",
        kind="tables",
        make=TableMaker("intents", intents.rows),
        about="Sentences that people say to a smart home, in many languages, and the intent of each (`text`, `label`,"
        " `language`); at most 40 / 4 / 8 rows an intent and language.",
        source=INTENTS_PACKAGE,
        licence="Apache-2.0",
        group="language and template; templates are split before sentences are drawn from them",
        pitfalls="label sets differ by language, so score on the shared ones; slots stay as {area}, the same in all"
        " languages; templates are expanded evenly, so some sentences are stiff",
    ),
)
