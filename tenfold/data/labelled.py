"""What a row with labels says: texts, and what they are to be told apart by, read from one of five formats.

| format | columns | optional |
|---|---|---|
| classification | `text`, `label` | `text_pair` |
| multi_label | `text`, `labels`: list, perhaps empty | `text_pair` |
| regression | `text`, `target`: a number | `text_pair` |
| tags | `tokens`: list of words, `tags`: a tag for each | |
| span | `question`, `context`, `answer`: a part of the context | `answer_start`: where it begins, in characters |

`answer` may also be a list of answers that are all right, or SQuAD's object of `text` and `answer_start`, two lists;
the first one is learned.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from tenfold.data.fields import RowFault, checked_text, list_of, text_of, value_of
from tenfold.data.json_stream import json_kind


@dataclass(frozen=True)
class Answer:
    """A part of a context that answers a question; `start` counts characters."""

    text: str
    start: int


Label = str | float | tuple[str, ...] | tuple[Answer, ...]
"""A class, a number, the labels (or the tags of all words), or all right answers, the learned one first."""


@dataclass(frozen=True)
class Labelled:
    """A text, or two that belong together (a pair; question and context), with its label, if the row has one.

    Rows of tagged words keep the `words` too; their text is the words with blanks between.
    """

    texts: tuple[str, ...]
    label: Label | None = None
    words: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text, or both, for people to read."""
        return "\n".join(self.texts)


def label_text(label: Label | None) -> str:
    """Return a label for people to read: the class, the number, the labels or tags one after another, the answer."""
    if label is None:
        return ""
    if isinstance(label, tuple):
        first = label[0] if label else ""
        return first.text if isinstance(first, Answer) else " ".join(map(str, label))
    return label if isinstance(label, str) else f"{label:.6g}"


def read_labelled(row: Mapping[str, object], format: str, columns: Mapping[str, str]) -> Labelled:
    """Return what a row with our names for its columns says; without its label where that is absent or null.

    Raises:
        RowFault: a missing text, or a value of the wrong kind.
    """
    texts, words = _TEXTS[format](row, columns)
    if not all(text.strip() for text in texts):
        raise RowFault("the text is empty")
    label = LABEL_COLUMNS[format]
    example = Labelled(texts, words=words)
    return example if row.get(label) is None else replace(example, label=_LABELS[format](row, columns, example))


def require_label(example: Labelled, row: Mapping[str, object], format: str, columns: Mapping[str, str]) -> Labelled:
    """Return `example` if it has a label; raises `RowFault` where the row has none."""
    if example.label is None:
        value_of(row, LABEL_COLUMNS[format], columns)
    return example


def _pair(row: Mapping[str, object], columns: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    first = text_of(row, "text", columns)
    return ((first,) if row.get("text_pair") is None else (first, text_of(row, "text_pair", columns))), ()


def _words(row: Mapping[str, object], columns: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    words = tuple(
        checked_text(word, f"word {number}") for number, word in enumerate(list_of(row, "tokens", columns, "words"), 1)
    )
    for number, word in enumerate(words, 1):
        if not word.strip() or word != word.strip():
            raise RowFault(f"word {number} is {word!r} (allowed: words without blanks around them)")
    return (" ".join(words),), words


def _question(row: Mapping[str, object], columns: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return (text_of(row, "question", columns), text_of(row, "context", columns)), ()


def _class(row: Mapping[str, object], columns: Mapping[str, str], example: Labelled) -> Label:
    return _named(row["label"], f"column {columns.get('label', 'label')!r}")


def _labels(row: Mapping[str, object], columns: Mapping[str, str], example: Labelled) -> Label:
    found = [
        _named(label, f"label {number}") for number, label in enumerate(list_of(row, "labels", columns, "labels"), 1)
    ]
    return tuple(sorted(set(found)))


def _named(value: object, what: str) -> str:
    """Return a label's name; whole numbers, true and false are names too."""
    if isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float):
        raise RowFault(f"{what} is {value}, not a name", "map numbers with data.columns: {target: YOUR_COLUMN}")
    name = checked_text(value, what).strip()
    if not name:
        raise RowFault(f"{what} is empty")
    return name


def _number(row: Mapping[str, object], columns: Mapping[str, str], example: Labelled) -> Label:
    value, what = row["target"], f"column {columns.get('target', 'target')!r}"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise RowFault(f"{what} is {json_kind(value)}, not a number")
    try:
        number = float(value)  # CSV has text only
    except (ValueError, OverflowError):
        raise RowFault(f"{what} is {value!r}, not a number") from None
    if not math.isfinite(number):
        raise RowFault(f"{what} is {value}, not a finite number")
    return number


def _tags(row: Mapping[str, object], columns: Mapping[str, str], example: Labelled) -> Label:
    tags = tuple(_named(tag, f"tag {number}") for number, tag in enumerate(list_of(row, "tags", columns, "tags"), 1))
    if len(tags) != len(example.words):
        raise RowFault(f"{len(example.words)} words and {len(tags)} tags")
    return tags


def _answers(row: Mapping[str, object], columns: Mapping[str, str], example: Labelled) -> Label:
    value, start = row["answer"], row.get("answer_start")
    if isinstance(value, dict):
        answers = cast(dict[str, object], value)
        value, start = answers.get("text"), answers.get("answer_start")
    texts = value if isinstance(value, list) else [value]
    starts = start if isinstance(start, list) else [start] * len(texts)
    if not texts:
        raise RowFault("there is no answer", "remove rows without one: every question is answered from its context")
    if len(starts) != len(texts):
        raise RowFault(f"{len(texts)} answers and {len(starts)} starts")
    return tuple(_answer(text, start, example.texts[1]) for text, start in zip(texts, starts, strict=True))


def _answer(text: object, start: object, context: str) -> Answer:
    answer = checked_text(text, "the answer")
    if not answer.strip():
        raise RowFault("the answer is empty", "remove rows without one: every question is answered from its context")
    if start is None:
        start = context.find(answer)
        if start < 0:
            raise RowFault(f"the answer {answer[:40]!r} is not in the context")
    if isinstance(start, str) and start.isdecimal():
        start = int(start)
    if not isinstance(start, int) or isinstance(start, bool):
        raise RowFault(f"answer_start is {json_kind(start)}, not a whole number")
    if start < 0 or context[start : start + len(answer)] != answer:
        raise RowFault(f"the answer {answer[:40]!r} does not stand at character {start} of the context")
    return Answer(answer, start)


_TEXTS: dict[str, Callable[[Mapping[str, object], Mapping[str, str]], tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "classification": _pair,
    "multi_label": _pair,
    "regression": _pair,
    "tags": _words,
    "span": _question,
}

_LABELS: dict[str, Callable[[Mapping[str, object], Mapping[str, str], Labelled], Label]] = {
    "classification": _class,
    "multi_label": _labels,
    "regression": _number,
    "tags": _tags,
    "span": _answers,
}

LABEL_COLUMNS = {
    "classification": "label",
    "multi_label": "labels",
    "regression": "target",
    "tags": "tags",
    "span": "answer",
}
"""The column that holds the label, in each format with labels."""
