"""What do the words alone give? Linear models over counted words, trained on the same rows as the language model.

Texts become TF-IDF weights of their words and pairs of neighbouring words; classes and labels are told by logistic
regression, numbers by ridge regression, all with scikit-learn's own settings. A language model must beat this to be
worth its cost: Wang & Manning 2012 (aclanthology.org/P12-2018) show how strong it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

MAX_ITERATIONS = 1000
"""Enough for logistic regression to converge on sparse weights of length one."""


def class_chances(
    train: Sequence[str], classes: Sequence[int], test: Sequence[str], *, num_classes: int
) -> list[list[float]]:
    """Return the probability of each class for each test text, [N, C]."""
    model = _fitted(_logistic(), train, list(classes))
    found = model.predict_proba(list(test)).tolist()
    places = [int(place) for place in model.classes_]
    return [[dict(zip(places, row, strict=True)).get(place, 0.0) for place in range(num_classes)] for row in found]


def label_chances(train: Sequence[str], labels: Sequence[Sequence[float]], test: Sequence[str]) -> list[list[float]]:
    """Return the probability of each label for each test text, [N, C]; a label that no row or each row has is fixed."""
    columns = []
    for column in zip(*labels, strict=True):
        if len(set(column)) == 1:
            columns.append([float(column[0])] * len(test))
        else:
            columns.append(_fitted(_logistic(), train, list(column)).predict_proba(list(test))[:, 1].tolist())
    return [list(row) for row in zip(*columns, strict=True)]


def numbers(train: Sequence[str], targets: Sequence[float], test: Sequence[str]) -> list[float]:
    """Return a number for each test text."""
    from sklearn.linear_model import Ridge

    found: list[float] = _fitted(Ridge(), train, list(targets)).predict(list(test)).tolist()
    return found


def usual_tags(train: Sequence[tuple[Sequence[str], Sequence[str]]], test: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return for each word the tag that it has most often in training; an unknown word gets the most frequent tag."""
    of_word: defaultdict[str, Counter[str]] = defaultdict(Counter)
    overall: Counter[str] = Counter()
    for words, tags in train:
        overall.update(tags)
        for word, tag in zip(words, tags, strict=True):
            of_word[word.casefold()][tag] += 1
    most = _first(overall)
    usual = {word: _first(tags) for word, tags in of_word.items()}
    return [[usual.get(word.casefold(), most) for word in words] for words in test]


def _first(counts: Counter[str]) -> str:
    """Return the most frequent name, the first in the alphabet of several."""
    return min(counts, key=lambda name: (-counts[name], name))


def _logistic() -> BaseEstimator:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=MAX_ITERATIONS)


def _fitted(model: BaseEstimator, texts: Sequence[str], wanted: Sequence[float]) -> BaseEstimator:
    from sklearn.feature_extraction.text import TfidfVectorizer  # brings scipy along: only when asked for
    from sklearn.pipeline import make_pipeline

    # the pattern keeps words of one letter, which the default drops, and every sign of scripts without blanks
    words = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)[\u3040-\u30ff\u3400-\u9fff]|\w+"
    )
    return make_pipeline(words, model).fit(list(texts), wanted)
