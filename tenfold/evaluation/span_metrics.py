"""How right are parts of a text: entities told by their words' tags, and answers taken from a context."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from tenfold.evaluation.scorecard import Measure

Entity = tuple[str, int, int]
"""Type, first word, last word."""


def tag_measures(answered: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]]) -> list[Measure]:
    """Return entity F1, where tags name entities (`B-place`), and the share of right tags."""
    rows = list(zip(answered, wanted, strict=True))
    right = Measure(
        "tag_accuracy",
        "share",
        True,
        tuple(sum(map(str.__eq__, *row)) / len(row[1]) if row[1] else 0.0 for row in rows),
        weights=tuple(float(len(tags)) for _, tags in rows),
    )
    if not any(tag.startswith(("B-", "I-")) for _, tags in rows for tag in tags):
        return [right]
    counts = [_found(set(entities(found)), set(entities(tags))) for found, tags in rows]
    return [Measure.pooled("entity_f1", counts, by="micro_f1", unit="share"), right]


def entities(tags: Sequence[str]) -> list[Entity]:
    """Return the entities that tags spell out in the schemes IO, IOB1 and IOB2, as the CoNLL evaluation reads them.

    An entity begins with `B-x`, or with `I-x` after anything but `B-x` or `I-x`. `I-` without a type is none.

    Source: Tjong Kim Sang & De Meulder 2003 (aclanthology.org/W03-0419), section 2.3; what `seqeval` does by default.
    """
    found: list[Entity] = []
    kind, first = "", 0
    for place, tag in enumerate([*tags, "O"]):
        prefix, _, name = tag.partition("-")
        goes_on = prefix == "I" and name == kind and kind != ""
        if goes_on:
            continue
        if kind:
            found.append((kind, first, place - 1))
        kind, first = (name, place) if prefix in ("B", "I") else ("", place)
    return found


def answer_measures(answered: Sequence[str], wanted: Sequence[Sequence[str]]) -> list[Measure]:
    """Return SQuAD's exact match and F1: the best over each row's right answers.

    Source: Rajpurkar et al. 2016 (SQuAD, arXiv 1606.05250), section 6.1, as its own evaluation script reads texts.
    """
    rows = list(zip(answered, wanted, strict=True))
    exact = tuple(max(float(plain(found) == plain(right)) for right in all_right) for found, all_right in rows)
    overlap = tuple(max(word_f1(plain(found), plain(right)) for right in all_right) for found, all_right in rows)
    return [Measure("squad_f1", "share", True, overlap), Measure("squad_exact_match", "share", True, exact)]


def plain(text: str) -> str:
    """Return the text in lower case, without ASCII punctuation and English articles, single blanks between words."""
    kept = "".join(sign for sign in text.lower() if sign not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", kept).split())


def word_f1(answered: str, wanted: str) -> float:
    """Return the harmonic mean of word precision and recall, words counted with their repetitions."""
    found, right = answered.split(), wanted.split()
    if not found or not right:
        return float(found == right)
    common = sum((Counter(found) & Counter(right)).values())
    return 2 * common / (len(found) + len(right))


def _found(answered: set[Entity], wanted: set[Entity]) -> tuple[float, float, float]:
    return float(len(answered & wanted)), float(len(answered - wanted)), float(len(wanted - answered))
