"""How many edits turn what was heard into what was said? Word and character error rates on normalised text.

Both are ratios of sums: all edits over all words (or characters) of the references. As a weighted mean that is each
item's own rate, weighed by the length of its reference.

The text is normalised first, the same way for every language (`basic_text`): Unicode NFKC, case folded, punctuation and
symbols dropped, runs of white space one blank. Digits and diacritics stay as they are: "5" is not "five".
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from tenfold.evaluation.words import apart

_APOSTROPHES = "'’ʼ"


def basic_text(text: str) -> str:
    """Return the text without what transcripts differ in for no reason of sound: case, punctuation, symbols, spacing.

    An apostrophe inside a word is dropped without parting it; every other mark parts words.

    Source: Radford et al. 2022 (Whisper, arXiv 2212.04356), appendix C, the rules for languages other than English.
    Departures: brackets keep their content, and combining marks stay, without which Indic scripts lose their vowels.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = (
        sign if unicodedata.category(sign)[0] not in "PSCZ" else "" if sign in _APOSTROPHES else " " for sign in folded
    )
    return " ".join("".join(kept).split())


def word_parts(text: str) -> list[str]:
    """Return the words of the normalised text; each ideograph or kana is one."""
    return [word for part in basic_text(text).split() for word in apart(part)]


def word_error_rate(prediction: str, reference: str) -> float:
    """Return edits per word of the reference; above 1 where much was heard that nobody said.

    Source: Levenshtein 1966; Morris et al. 2004, "From WER and RIL to MER and WIL", equation 1.
    """
    return _rate(word_parts(prediction), word_parts(reference))


def character_error_rate(prediction: str, reference: str) -> float:
    """Return edits per character of the reference, the blanks between words among them."""
    return _rate(basic_text(prediction), basic_text(reference))


def num_words(reference: str) -> float:
    """Return what a reference weighs in the word error rate."""
    return float(len(word_parts(reference)))


def num_characters(reference: str) -> float:
    """Return what a reference weighs in the character error rate."""
    return float(len(basic_text(reference)))


def _rate(predicted: Sequence[str], wanted: Sequence[str]) -> float:
    # a reference of marks alone has nothing to get wrong; it weighs nothing either
    return num_edits(predicted, wanted) / len(wanted) if wanted else 0.0


def num_edits(predicted: Sequence[str], wanted: Sequence[str]) -> int:
    """Return the fewest insertions, deletions and substitutions that turn one sequence into the other.

    One row of the table at a time (Wagner & Fischer 1974). An insertion takes its cost from the left neighbour, which
    as a running minimum of `cost - place` needs no loop.
    """
    codes: dict[str, int] = {}
    first, second = (
        np.array([codes.setdefault(part, len(codes)) for part in parts], dtype=np.int64)
        for parts in (wanted, predicted)
    )
    places = np.arange(len(second) + 1)
    row = places
    for number, part in enumerate(first, 1):
        costs = np.concatenate([[number], np.minimum(row[1:] + 1, row[:-1] + (second != part))])
        row = np.minimum.accumulate(costs - places) + places
    return int(row[-1])
