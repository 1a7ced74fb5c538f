"""Floors for tables with labels or numbers: TF-IDF with a linear model, and guessing the most frequent or the mean."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MultiLabelBinarizer

from evidence.floors.figures import Figure, Floors, mean, whole
from evidence.tables import Row

WORDS, LETTERS = "word", "char_wb"


def classes(train: Sequence[Row], test: Sequence[Row], *, analyzer: str, seed: int) -> Floors:
    """Return accuracy and macro-F1 of the most frequent label, of TF-IDF, and of TF-IDF where rows are split anyhow.

    The last shows by how much a split that divides groups would flatter.
    """
    frequent = Counter(row["label"] for row in train).most_common(1)[0][0]
    wanted = np.array([row["label"] for row in test])
    found: Floors = {
        "majority": _class_figures(np.full(len(test), frequent), wanted, seed=seed),
        "tf-idf": _class_figures(_predict(train, test, analyzer, seed), wanted, seed=seed),
    }
    mixed = [*train, *test]
    random.Random(seed).shuffle(mixed)
    first, second = mixed[: len(train)], mixed[len(train) :]
    other = np.array([row["label"] for row in second])
    found["tf-idf, random split"] = _class_figures(_predict(first, second, analyzer, seed), other, seed=seed)
    return found


def languages(train: Sequence[Row], test: Sequence[Row], *, source: str, seed: int) -> Floors:
    """Return accuracy on each language by TF-IDF of letters, trained on `source` alone, over labels they share."""
    own = [row for row in train if row["language"] == source]
    model = _classifier(LETTERS, seed).fit([row["text"] for row in own], [row["label"] for row in own])
    known = {row["label"] for row in own}
    found: dict[str, Figure] = {}
    for language in sorted({str(row["language"]) for row in test}):
        rows = [row for row in test if row["language"] == language and row["label"] in known]
        right = model.predict([row["text"] for row in rows]) == np.array([row["label"] for row in rows])
        found[language] = mean(right.tolist())
    return {f"tf-idf trained on {source}, accuracy": found}


def several(train: Sequence[Row], test: Sequence[Row], *, seed: int) -> Floors:
    """Return micro- and macro-F1 of the most frequent label for all, and of one linear model a label."""
    labels = MultiLabelBinarizer().fit([row["labels"] for row in train])
    known, wanted = (labels.transform([row["labels"] for row in rows]) for rows in (train, test))
    frequent = np.zeros_like(wanted)
    frequent[:, known.sum(axis=0).argmax()] = 1
    balanced = LogisticRegression(C=10, max_iter=1000, class_weight="balanced", random_state=seed)
    model = make_pipeline(_tfidf(WORDS), OneVsRestClassifier(balanced)).fit([row["text"] for row in train], known)
    predicted = model.predict([row["text"] for row in test])
    return {
        name: {
            f"{average} F1": whole(
                lambda chosen, given=given, average=average: f1_score(  # type: ignore[misc]
                    wanted[chosen], given[chosen], average=average, zero_division=0
                ),
                len(test),
                seed=seed,
            )
            for average in ("micro", "macro")
        }
        for name, given in (("majority", frequent), ("tf-idf", predicted))
    }


def numbers(train: Sequence[Row], test: Sequence[Row], *, seed: int) -> Floors:
    """Return the mean absolute error and the explained share of variance of the mean, and of a ridge regression."""
    known, wanted = (np.array([float(str(row["target"])) for row in rows]) for rows in (train, test))
    model = make_pipeline(_tfidf(WORDS), Ridge(alpha=1.0)).fit([row["text"] for row in train], known)
    guesses = {
        "mean": np.full(len(test), known.mean()),
        "tf-idf": model.predict([row["text"] for row in test]),
    }

    def explained(guess: np.ndarray, chosen: np.ndarray) -> float:
        own = wanted[chosen]
        return float(1 - ((own - guess[chosen]) ** 2).sum() / ((own - own.mean()) ** 2).sum())

    return {
        name: {
            "absolute error": mean(np.abs(guess - wanted).tolist()),
            "R2": whole(lambda chosen, guess=guess: explained(guess, chosen), len(test), seed=seed),  # type: ignore[misc]
        }
        for name, guess in guesses.items()
    }


def _predict(train: Sequence[Row], test: Sequence[Row], analyzer: str, seed: int) -> np.ndarray:
    model = _classifier(analyzer, seed).fit([row["text"] for row in train], [row["label"] for row in train])
    predicted: np.ndarray = model.predict([row["text"] for row in test])
    return predicted


def _classifier(analyzer: str, seed: int) -> Pipeline:
    return make_pipeline(_tfidf(analyzer), LogisticRegression(C=10, max_iter=1000, random_state=seed))


def _tfidf(analyzer: str) -> TfidfVectorizer:
    span = (1, 2) if analyzer == WORDS else (2, 5)
    return TfidfVectorizer(analyzer=analyzer, ngram_range=span, sublinear_tf=True)


def _class_figures(predicted: np.ndarray, wanted: np.ndarray, *, seed: int) -> dict[str, Figure]:
    return {
        "accuracy": mean((predicted == wanted).tolist()),
        "macro-F1": whole(
            lambda chosen: f1_score(wanted[chosen], predicted[chosen], average="macro", zero_division=0),
            len(wanted),
            seed=seed,
        ),
    }
