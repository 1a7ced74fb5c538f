"""What a row says, as the checks need it: its texts, its prompt, its answer, and keys that are equal where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tenfold.data.examples import Example
from tenfold.data.fields import RowFault
from tenfold.data.formats import FORMATS, LABELLED, OPTIONAL
from tenfold.data.identity import hash_of, normalised, row_key
from tenfold.data.labelled import LABEL_COLUMNS, Answer, Labelled, label_text
from tenfold.data.sources import Rows


@dataclass(frozen=True)
class Said:
    """What a row says; `prompt` is normalised (`identity.normalised`), `answer` as it stands, or a label.

    `content` is what near-duplicates are told by, normalised; `within` is what they must share besides: of a question
    the context. Keys have 63 bits: `row_key` is equal for rows that say the same word for word, `prompt_key` for rows
    whose last prompt is the same by the gate's rule of overlap, `task_key` where the same answer would be expected.
    """

    prompt: str
    answer: str
    content: str
    within: str
    row_key: int
    prompt_key: int
    task_key: int
    answer_key: int


def read_said(rows: Rows, row: Mapping[str, object]) -> Said | None:
    """Return what the row says, None where only its answer is missing.

    Raises:
        RowFault: it cannot be learned from for another reason.
    """
    try:
        example = rows.read(row)
    except RowFault:
        if _lacks_answer(rows, row):
            return None
        raise
    return _of_labels(example) if isinstance(example, Labelled) else _of_words(example)


def _lacks_answer(rows: Rows, row: Mapping[str, object]) -> bool:
    if rows.format in LABELLED:
        label = row.get(rows.columns.get(LABEL_COLUMNS[rows.format], LABEL_COLUMNS[rows.format]))
        if rows.format == "multi_label" or label not in (None, "", []):
            return False
        return all(
            row.get(rows.columns.get(name, name))
            for name in LABELLED[rows.format]
            if name not in LABEL_COLUMNS.values()
        )
    try:
        _, reference = rows.read_question(row)
    except RowFault:
        return False
    return not (reference or "").strip()


def _of_labels(example: Labelled) -> Said:
    prompt = "\x1e".join(map(normalised, example.texts))
    is_span = isinstance(example.label, tuple) and any(isinstance(each, Answer) for each in example.label)
    content, _, within = prompt.partition("\x1e") if is_span else (prompt, "", "")
    keys = (row_key(example), hash_of(prompt), hash_of(prompt), hash_of(repr(example.label)))
    return Said(prompt, label_text(example.label), content, within, *keys)


def _of_words(example: Example) -> Said:
    if example.text is not None:
        text = normalised(example.text)
        return Said(text, "", text, "", row_key(example), hash_of(text), hash_of(text), 0)
    asked = [normalised(turn.content) for turn in example.turns[:-1] if turn.role != "system"]
    system = [turn.content for turn in example.turns if turn.role == "system"]
    prompt = "\x1e".join(asked)
    answer = example.turns[-1].content
    reply = normalised(answer)
    # another system text or another target language may well ask for another answer
    task_key = hash_of("\x1f".join((prompt, *system, example.language or "")))
    prompt_key = hash_of(reply if example.is_speech else prompt)
    content = reply if example.is_speech else f"{prompt} {reply}"
    keys = (row_key(example), prompt_key, task_key, hash_of(reply))
    return Said(prompt, answer, content, example.language or "", *keys)


def shown_parts(rows: Rows, row: Mapping[str, object]) -> list[str]:
    """Return the texts to show people of a row: what is asked and answered, without roles and system text."""
    try:
        example = rows.read(row)
    except RowFault:
        return texts_of(rows, row)
    if isinstance(example, Labelled):
        return [*example.texts, label_text(example.label)]
    if example.text is not None:
        return [example.text]
    return [turn.content for turn in example.turns if turn.role != "system"]


def texts_of(rows: Rows, row: Mapping[str, object]) -> list[str]:
    """Return all texts in the columns that are learned from, in order; of a conversation those of its turns."""
    ours = FORMATS[rows.format] + OPTIONAL.get(rows.format, ())
    return list(_texts([row.get(rows.columns.get(name, name)) for name in ours]))


_OF_TURNS = {"role", "from", "type"}
"""What a turn says about itself, which is nobody's text."""


def _texts(values: list[object]) -> Iterator[str]:
    left = values[::-1]  # a stack, not recursion: rows may be nested as deep as JSON allows
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            left.extend(part for name, part in reversed(value.items()) if name not in _OF_TURNS)
        elif isinstance(value, list):
            left.extend(reversed(value))
