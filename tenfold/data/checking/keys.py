"""What rows say again and again: found by sorting their keys, 8 bytes each, never by holding their texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

OK, NO_ANSWER, UNREADABLE = 0, 1, 2
FEWEST_PROMPTS = 5
SHARE_OF_ROWS = 0.005


@dataclass
class Keys:
    """One entry a row, of all files one after another; keys mean something only where `state` is `OK`."""

    num_rows: int
    row: np.ndarray = field(init=False)
    prompt: np.ndarray = field(init=False)
    task: np.ndarray = field(init=False)
    answer: np.ndarray = field(init=False)
    length: np.ndarray = field(init=False)
    """Characters of prompt and answer together."""
    state: np.ndarray = field(init=False)
    is_long: np.ndarray = field(init=False)
    ends_open: np.ndarray = field(init=False)
    leaves_open: np.ndarray = field(init=False)
    is_test: np.ndarray = field(init=False)
    is_labelled: np.ndarray = field(init=False)
    is_sentence: np.ndarray = field(init=False)
    """Whether the answer is three words or more: fewer may well answer many prompts."""

    def __post_init__(self) -> None:
        for name in ("row", "prompt", "task", "answer"):
            setattr(self, name, np.zeros(self.num_rows, dtype=np.int64))
        self.length = np.zeros(self.num_rows, dtype=np.int32)
        self.state = np.zeros(self.num_rows, dtype=np.uint8)
        for name in ("is_long", "ends_open", "leaves_open", "is_test", "is_labelled", "is_sentence"):
            setattr(self, name, np.zeros(self.num_rows, dtype=bool))

    def readable(self) -> np.ndarray:
        """Return the rows that can be learned from, [rows] int64."""
        rows: np.ndarray = np.flatnonzero(self.state == OK)
        return rows


def repeated(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return (row, first row with its key) for each of `rows` that repeats an earlier one of them, [pairs, 2] int64."""
    _, first, inverse = np.unique(keys[rows], return_index=True, return_inverse=True)
    firsts = rows[first[inverse]]
    pairs: np.ndarray = np.stack([rows, firsts], axis=1)[firsts != rows]
    return pairs


def shared(keys: np.ndarray, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return (row, first of `others` with its key) for each of `rows` that has one, [pairs, 2] int64."""
    known, first = np.unique(keys[others], return_index=True)
    is_known = np.isin(keys[rows], known)
    partners = others[first[np.searchsorted(known, keys[rows][is_known])]]
    return np.stack([rows[is_known], partners], axis=1)


def conflicting(keys: Keys, rows: np.ndarray) -> np.ndarray:
    """Return (row, another with its task and another answer) for each of `rows` that has one, [pairs, 2] int64."""
    if not len(rows):
        return np.zeros((0, 2), dtype=np.int64)
    by_answer = np.lexsort((rows, keys.answer[rows], keys.task[rows]))
    tasks, answers = keys.task[rows][by_answer], keys.answer[rows][by_answer]
    starts = np.r_[True, tasks[1:] != tasks[:-1]]
    group = np.cumsum(starts) - 1
    firsts = np.flatnonzero(starts)
    lasts = np.r_[firsts[1:], len(rows)] - 1
    # answers of a task are sorted: it has two of them where the first and the last differ
    places = np.flatnonzero((answers[firsts] != answers[lasts])[group])
    is_like_first = answers[places] == answers[firsts][group[places]]
    others = np.where(is_like_first, lasts[group[places]], firsts[group[places]])
    found = np.stack([rows[by_answer[places]], rows[by_answer[others]]], axis=1)
    return found[np.argsort(found[:, 0], kind="stable")]


def same_answers(keys: Keys, rows: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield (row, how many different prompts get its answer) where these are many for an answer in words."""
    pairs = np.unique(np.stack([keys.answer[rows], keys.prompt[rows]], axis=1), axis=0)
    answers, counts = np.unique(pairs[:, 0], return_counts=True)
    many = answers[counts >= max(FEWEST_PROMPTS, SHARE_OF_ROWS * len(rows))]
    number_of = dict(zip(answers.tolist(), counts.tolist(), strict=True)) if len(many) else {}
    for row in rows[np.isin(keys.answer[rows], many)].tolist():
        yield row, number_of[int(keys.answer[row])]


def outliers(lengths: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return the places of lengths far outside the others, and the bounds: 3 times the quartiles' distance, in logs.

    Source: Tukey 1977, "Exploratory Data Analysis", outer fences. Departure: the quartiles count as at least a factor
    of 2 apart, or lengths that are nearly all equal would have outliers everywhere.
    """
    if len(lengths) < 20:
        return np.zeros(0, dtype=np.int64), 0.0, np.inf
    logs = np.log(np.maximum(lengths, 1))
    low, high = np.quantile(logs, [0.25, 0.75])
    spread = 3 * max(high - low, np.log(2))
    bounds = float(np.exp(low - spread)), float(np.exp(high + spread))
    return np.flatnonzero((lengths < bounds[0]) | (lengths > bounds[1])), *bounds
