"""The tables that are cut from packages of texts, with what a reader has to know about each."""

from __future__ import annotations

from evidence.home import entities, intents
from evidence.piece import Piece, TableMaker
from evidence.text import diseases, docstrings, licences, ui_strings

INTENTS_PACKAGE = "home-assistant-intents 2026.10.27 (PyPI), sentence templates written by people"
UNIPROT = "UniProt's disease list in gnuhealth-genetics-uniprot 5.0.4 (PyPI); only UniProt's texts are taken"

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
        " languages; a sentence that is the same in two languages is kept in the first; templates are expanded"
        " evenly, so some sentences are stiff",
    ),
    Piece(
        name="entities",
        kind="tables",
        make=TableMaker("entities", entities.rows),
        about="English commands to a smart home, word by word (`tokens`), and what each word is part of (`tags`: O,"
        " B-area, I-area …).",
        source=INTENTS_PACKAGE + "; slots filled with our own areas, devices, items and numbers",
        licence="Apache-2.0",
        group="template; words that fill the slots are shared by all splits",
        pitfalls="drawn from templates, so the wording is real and the filling is not: high scores show that a model"
        " learned these lists and places, not that it finds names in free text",
    ),
    Piece(
        name="licences",
        kind="tables",
        make=TableMaker("licences", licences.rows),
        about="Notices as programs carry them, and the category of the licence that each names (`text`, `label`); at"
        " most 100 / 50 / 50 of a licence.",
        source="licensedcode-data 32.1.0 (PyPI), ScanCode's licence data",
        licence="CC-BY-4.0, attribution: nexB Inc. and others",
        group="licence key",
        pitfalls="notices of one licence are near copies, so a random split flatters; two categories are rare: report"
        " macro-F1 beside accuracy",
    ),
    Piece(
        name="diseases",
        kind="tables",
        make=TableMaker("diseases", diseases.keyword_rows),
        about="Definitions of diseases and UniProt's keyword (`text`, `label`), where exactly one of the twelve most"
        " frequent is given.",
        source=UNIPROT,
        licence="CC-BY-4.0, attribution: UniProt Consortium",
        group="name without numbers of variants, joined with those that begin with the same 120 letters, in chains",
        pitfalls="small; variants of a disease repeat a definition almost word for word, so a random split flatters;"
        " not medical advice",
    ),
    Piece(
        name="disease_definitions",
        kind="tables",
        make=TableMaker("disease_definitions", diseases.definition_rows),
        about="Names of diseases and their definitions (`prompt`, `completion`).",
        source=UNIPROT,
        licence="CC-BY-4.0, attribution: UniProt Consortium",
        group="as in diseases",
        pitfalls="a small model learns how a definition reads and invents what it says; not medical advice",
    ),
    Piece(
        name="ui_strings",
        kind="tables",
        make=TableMaker("ui_strings", ui_strings.rows),
        about="Strings of three words or more of Django's user interface and their translations (`source`, `target`,"
        " `language`), most into languages of few speakers; French for comparison.",
        source="Django 5.2.19 (PyPI)",
        licence="BSD-3-Clause",
        group="the English string, in all languages",
        pitfalls="a few hundred strings a language, some a few dozen; placeholders such as %(name)s have to survive",
    ),
    Piece(
        name="docstrings",
        kind="tables",
        make=TableMaker("docstrings", docstrings.rows),
        about="Python functions without their docstring, and its first line (`prompt`, `completion`).",
        source="the Python and the libraries that run the command",
        licence="PSF-2.0 (Python), BSD-3-Clause (NumPy, scikit-learn, SciPy, PyTorch, pandas)",
        group="source file",
        pitfalls="other versions give other rows; the code is all but surely in a model's pre-training data, so for"
        " demonstrations and not for claims",
    ),
)
