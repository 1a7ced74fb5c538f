"""Floors for tables whose answer is a text: its beginning, a copy, or the answer to the most similar training row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from evidence.floors.figures import Figure, Floors, mean
from evidence.tables import Row
from tenfold.evaluation.metrics import chrf, rouge_l
from tenfold.evaluation.words import words

LEAD_WORDS = 14


def summaries(train: Sequence[Row], test: Sequence[Row]) -> Floors:
    """Return ROUGE-L and chrF of the first fourteen words, the first sentence, and the nearest row's answer."""
    texts = [str(row["prompt"]).split("\n\n", maxsplit=1)[1] for row in test]
    guesses = {
        f"first {LEAD_WORDS} words": [" ".join(text.split()[:LEAD_WORDS]) for text in texts],
        "first sentence": [text.split("\n\n")[0].split(". ")[0] for text in texts],
        "nearest training row": nearest(train, test, "prompt", "completion"),
    }
    return {name: _figures(given, [str(row["completion"]) for row in test]) for name, given in guesses.items()}


def answers(train: Sequence[Row], test: Sequence[Row]) -> Floors:
    """Return ROUGE-L and chrF of the answer to the training prompt that is nearest."""
    given = nearest(train, test, "prompt", "completion")
    return {"nearest training row": _figures(given, [str(row["completion"]) for row in test])}


def translations(train: Sequence[Row], test: Sequence[Row]) -> Floors:
    """Return chrF by language of the source as it is, and of the translation of the nearest training source."""
    copied: dict[str, Figure] = {}
    found: dict[str, Figure] = {}
    for language in sorted({str(row["language"]) for row in test}):
        own, known = ([row for row in rows if row["language"] == language] for rows in (test, train))
        targets = [str(row["target"]) for row in own]
        copied[language] = _chrf([str(row["source"]) for row in own], targets)
        found[language] = _chrf(nearest(known, own, "source", "target"), targets)
    return {"copied source, chrF": copied, "nearest training row, chrF": found}


def preferences(test: Sequence[Row]) -> Floors:
    """Return how often the chosen text is the longer one, and the one closer to the prompt; ties count half."""

    def share(row: Row, text: str) -> float:
        own = words(str(row[text]))
        return len(set(own) & set(words(str(row["prompt"])))) / max(1, len(own))

    longer = [_won(len(str(row["chosen"])), len(str(row["rejected"]))) for row in test]
    closer = [_won(share(row, "chosen"), share(row, "rejected")) for row in test]
    return {"the longer": {"accuracy": mean(longer)}, "the closer to the prompt": {"accuracy": mean(closer)}}


def nearest(train: Sequence[Row], test: Sequence[Row], asked: str, answered: str) -> list[str]:
    """Return for each test row the text `answered` of the training row whose `asked` is most like its own (TF-IDF)."""
    tfidf = TfidfVectorizer(sublinear_tf=True).fit([str(row[asked]) for row in train])
    known, wanted = (tfidf.transform([str(row[asked]) for row in rows]) for rows in (train, test))
    best = [int(np.argmax((wanted[index] @ known.T).toarray())) for index in range(len(test))]
    return [str(train[index][answered]) for index in best]


def _won(first: float, second: float) -> float:
    return 0.5 if first == second else float(first > second)


def _figures(given: Sequence[str], wanted: Sequence[str]) -> dict[str, Figure]:
    return {
        "ROUGE-L": mean([rouge_l(*pair) for pair in zip(given, wanted, strict=True)]),
        "chrF": _chrf(given, wanted),
    }


def _chrf(given: Sequence[str], wanted: Sequence[str]) -> Figure:
    return mean([chrf(*pair) for pair in zip(given, wanted, strict=True)])
