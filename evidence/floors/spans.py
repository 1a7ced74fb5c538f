"""Floors for tables whose answer is a stretch of the text: what the words are most often, or were before."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from evidence.floors.figures import Floors, mean, whole
from evidence.tables import Row
from tenfold.evaluation.metrics import token_f1

Span = tuple[int, int, str]


def entities(train: Sequence[Row], test: Sequence[Row], *, seed: int) -> Floors:
    """Return F1 over whole spans where each word gets the tag that it mostly has in training, unknown ones none."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for row in train:
        for token, tag in zip(*_words(row), strict=True):
            seen[token][tag] += 1
    best = {token: tags.most_common(1)[0][0] for token, tags in seen.items()}
    pairs = []
    for row in test:
        tokens, tags = _words(row)
        pairs.append((spans([best.get(token, "O") for token in tokens]), spans(tags)))
    counts = np.array([[len(given & wanted), len(given), len(wanted)] for given, wanted in pairs])

    def score(chosen: np.ndarray) -> float:
        common, given, wanted = counts[chosen].sum(axis=0)
        return float(2 * common / (given + wanted))

    return {"most frequent tag of each word": {"span F1": whole(score, len(test), seed=seed)}}


def spans(tags: Sequence[str]) -> set[Span]:
    """Return (first word, word after the last, kind) of each stretch; an I after another kind begins one."""
    found: set[Span] = set()
    start, kind = 0, ""
    for position, tag in enumerate([*tags, "O"]):
        goes_on = tag == f"I-{kind}"
        if kind and not goes_on:
            found.add((start, position, kind))
            kind = ""
        if tag != "O" and not goes_on:
            start, kind = position, tag[2:]
    return found


def questions(train: Sequence[Row], test: Sequence[Row]) -> Floors:
    """Return exact match and token F1 of the answer most often right in training that stands in the context."""
    known: dict[object, Counter[str]] = defaultdict(Counter)
    for row in train:
        known[row["question"]][_answer(row)] += 1
    given, wanted = [], []
    for row in test:
        context = str(row["context"])
        candidates = known[row["question"]].most_common()
        standing = (text for text, _ in candidates if re.search(rf"(?<!\w){re.escape(text)}(?!\w)", context))
        given.append(next(standing, ""))
        wanted.append(_answer(row))
    pairs = list(zip(given, wanted, strict=True))
    right = [first.casefold() == second.casefold() for first, second in pairs]
    figures = {"exact match": mean(right), "token F1": mean([token_f1(*pair) for pair in pairs])}
    contested = [value for value, row in zip(right, test, strict=True) if row["rivals"]]
    if contested:
        figures["exact match with rivals"] = mean(contested)
    return {"known answer that stands in the context": figures}


def _answer(row: Row) -> str:
    answers = row["answers"]
    assert isinstance(answers, dict)
    return str(answers["text"][0])


def _words(row: Row) -> tuple[list[str], list[str]]:
    tokens, tags = row["tokens"], row["tags"]
    assert isinstance(tokens, list) and isinstance(tags, list)
    return tokens, tags
