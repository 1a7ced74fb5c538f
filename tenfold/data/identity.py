"""When two rows count as the same: the keys behind splits and the overlap rule."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from typing import Literal

from tenfold.data.examples import Example, Turn, learned_replies
from tenfold.data.labelled import Labelled

_SENTENCE_MARKS = ".,;:!?…\"'`´“”„‘’«»¿¡。、，；：！？"


def normalised(text: str) -> str:
    """Return the text without what people change when they copy: case, spacing, marks at the edges of words.

    Marks inside words and signs such as + - * stay, so `2 + 3` and `2 - 3`, or `3.5` and `35`, remain apart.
    A text of nothing but marks stays as it is.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = [word.strip(_SENTENCE_MARKS) for word in folded.split()]
    return " ".join(filter(None, words)) or text


def prompt_keys(example: Example | Labelled, train_on: Literal["all", "last"]) -> list[int]:
    """Return 63 bits for each prompt of the example, in order, equal where normalised prompts are.

    There is a prompt to each reply that is learned, and one to the last reply, which evaluation asks for. It is
    everything before the reply but the system turn: rows that differ only in their system text would still give
    each other's answers away. Raw text has one key, equal for the same text; so have texts with a label. Speech has one
    for what is said (its sound has a key of its own, which `prepare` adds).
    """
    if isinstance(example, Labelled):
        return [hash_of("\x1e".join(map(normalised, example.texts)))]
    if example.is_speech:
        return [hash_of(normalised(example.turns[-1].content))]
    if example.text is not None:
        return [hash_of(normalised(example.text))]
    replies = {*learned_replies(example.turns, train_on), len(example.turns) - 1}
    return [_prompt_key(example.turns[:place]) for place in sorted(replies)]


def _prompt_key(turns: Sequence[Turn]) -> int:
    return hash_of("\x1e".join(normalised(turn.content) for turn in turns if turn.role != "system"))


def row_key(example: Example | Labelled) -> int:
    """Return 63 bits that are equal for examples that say the same, word for word."""
    if isinstance(example, Labelled):
        return hash_of("\x1e".join((*example.texts, repr(example.label))))
    if example.text is not None:
        return hash_of(example.text)
    return hash_of("\x1e".join(f"{turn.role}\x1f{turn.content}" for turn in example.turns))


def hash_of(text: str) -> int:
    """Return the first 63 bits of the text's SHA-1: the same in every process, and fits a signed column."""
    digest = hashlib.sha1(text.encode("utf-8"), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big") >> 1
