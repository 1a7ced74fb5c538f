"""What can be known of rows, model and machine in seconds: nothing is trained, no weight is read."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tenfold.data.examples import Example
from tenfold.data.fields import RowFault
from tenfold.data.formats import WORDS
from tenfold.data.labelled import Labelled
from tenfold.data.sources import Rows
from tenfold.engine.runtime import Machine, read_machine
from tenfold.errors import DataError, Problem
from tenfold.models.families import require_family
from tenfold.models.headers import Headers, count_tokens, read_headers
from tenfold.models.sources import resolve_headers
from tenfold.recipe import ModelSection

ROWS_READ = 20_000
"""Rows of a table that labels and languages are counted on; of a larger table so many, evenly spaced."""

ROWS_MEASURED = 500
"""Rows of a table whose tokens are counted."""

FEWEST_TO_SPLIT = 4
"""Rows of a label below which drawing test and validation rows easily leaves one to train on, which a run refuses."""

CLIP_POSITIONS = 1500
"""What a clip is taken for, in positions of the encoder: Whisper's 30 seconds, whatever its length."""


@dataclass(frozen=True)
class TableFacts:
    """What the rows of one table are like."""

    name: str
    """The task's name in a recipe."""
    format: str
    num_rows: int
    median_tokens: float
    longest_tokens: int
    """Of the rows that were measured."""
    rows_per_label: Mapping[str, int]
    """Of classes and of sets of labels; about so many, where only some rows were read."""
    num_read: int
    num_measured: int
    num_faulty: int = 0
    """Of the rows read, those that say nothing that can be learned."""

    @property
    def num_alone(self) -> int:
        """Labels of one row, which every run refuses; none where only some rows were read, as nothing is known then."""
        return sum(count == 1 for count in self.rows_per_label.values()) if self.num_read == self.num_rows else 0

    @property
    def unlearnable(self) -> str:
        """Why no run takes these rows, even without those whose labels stand alone; empty where some would."""
        left = len(self.rows_per_label) - self.num_alone
        if (
            self.num_read < self.num_rows
            or not self.rows_per_label
            or left >= (1 if self.format == "multi_label" else 2)
        ):
            return ""
        if len(self.rows_per_label) == 1:
            return "there is nothing to tell apart"
        return f"{self.num_alone:,} of {len(self.rows_per_label):,} labels have one row"

    @property
    def median_rows_per_label(self) -> float | None:
        """Rows that half of the labels have at least, but for those that stand alone; None where none are left."""
        left = [count for count in self.rows_per_label.values() if count > 1 or not self.num_alone]
        return statistics.median(left) if left else None

    @property
    def is_scarce(self) -> bool:
        """Whether half of the labels have too few rows to be split."""
        return (median := self.median_rows_per_label) is not None and median < FEWEST_TO_SPLIT

    @property
    def is_labelled(self) -> bool:
        """Whether rows are answered with labels, not in words."""
        return self.format not in WORDS


@dataclass(frozen=True)
class Facts:
    """All that advice follows from."""

    tables: tuple[TableFacts, ...]
    model: Headers
    machine: Machine
    language_column: str | None = None
    """A column that names two languages or more."""
    languages: Mapping[str, int] | None = None
    """Rows of each, about so many where only some were read."""
    refused: Mapping[str, str] | None = None
    """Techniques that cannot take such rows, and why."""

    @property
    def first(self) -> TableFacts:
        """The only table, for most."""
        return self.tables[0]

    @property
    def unlearnable(self) -> str:
        """Which table no run takes, and why; empty where each would be taken by some."""
        return next((f"in {table.name}, {table.unlearnable}" for table in self.tables if table.unlearnable), "")

    @property
    def num_rows(self) -> int:
        """The rows of all tables."""
        return sum(table.num_rows for table in self.tables)

    @property
    def num_tokens(self) -> float:
        """Tokens of all rows, about."""
        return sum(table.num_rows * table.median_tokens for table in self.tables)


def spread(rows: Rows, count: int) -> Rows:
    """Return at most `count` rows, evenly spaced over all."""
    if len(rows) <= count:
        return rows
    return rows.select(np.linspace(0, len(rows) - 1, count).astype(np.int64))


def facts_of(tables: Mapping[str, Rows], section: ModelSection) -> Facts:
    """Return the facts of `tables`, by their tasks' names, for the model that `section` names, on this machine.

    Raises:
        DataError: no row can be read, or such a model does not learn from such rows.
        ModelError: the model is not to be had, or its files are damaged.
    """
    files = resolve_headers(section)
    model = read_headers(files)
    for rows in tables.values():
        require_family(rows.format, model.family)
    found = []
    for name, rows in tables.items():
        examples, num_faulty = _examples(spread(rows, ROWS_READ))
        if not examples:
            remedy = "`tenfold check` says what is wrong with each"
            raise DataError(Problem(rows.name, f"none of {num_faulty} rows says what its format promises", "", remedy))
        some = examples[:: max(1, len(examples) // ROWS_MEASURED)][:ROWS_MEASURED]
        lengths = count_tokens(files.folder, [_text(example) for example in some])
        if rows.format == "speech":
            lengths = [length + CLIP_POSITIONS for length in lengths]
        scale = len(rows) / (len(examples) + num_faulty)
        counted = Counter(label for example in examples for label in _labels(example, rows.format))
        found.append(
            TableFacts(
                name=name,
                format=rows.format,
                num_rows=len(rows),
                median_tokens=statistics.median(lengths),
                longest_tokens=max(lengths),
                rows_per_label={label: round(count * scale) for label, count in counted.most_common()},
                num_read=len(examples) + num_faulty,
                num_measured=len(some),
                num_faulty=num_faulty,
            )
        )
    return Facts(tuple(found), model, read_machine())


def _examples(rows: Rows) -> tuple[Sequence[Example | Labelled], int]:
    """Return what the rows say, and how many say nothing that can be learned."""
    examples, num_faulty = [], 0
    for _, chunk in rows.chunks():
        for row in chunk:
            try:
                examples.append(rows.read(row))
            except RowFault:
                num_faulty += 1
    return examples, num_faulty


def _text(example: Example | Labelled) -> str:
    if isinstance(example, Labelled):
        return example.text
    if example.is_speech:
        return example.turns[-1].content
    return example.text or "\n".join(turn.content for turn in example.turns)


def _labels(example: Example | Labelled, format: str) -> Sequence[str]:
    if not isinstance(example, Labelled):
        return ()
    if format == "multi_label" and isinstance(example.label, tuple):
        return [str(label) for label in example.label]
    return [example.label] if isinstance(example.label, str) else ()
