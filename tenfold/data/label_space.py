"""Which labels there are, and how one becomes numbers: read from the training rows, kept with the artifact."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tenfold.data.batch import LabelForm
from tenfold.data.examples import to_example
from tenfold.data.fields import RowFault
from tenfold.data.labelled import Answer, Label, Labelled
from tenfold.data.sources import Rows
from tenfold.errors import DataError, Problem, nearest
from tenfold.recipe import DataSection

FORMS: dict[str, LabelForm] = {
    "classification": "class",
    "multi_label": "classes",
    "regression": "value",
    "tags": "tags",
    "span": "span",
}
"""The form that labels of each format take."""

FAULTS_TOLD = 5


@dataclass(frozen=True)
class LabelSpace:
    """The labels of a task: `names` with how many training rows (or words) have each, or what numbers are like.

    Numbers are learned as (number - `mean`) / `spread`, so that a head that starts at zero is near them whatever their
    unit. `longest` is the longest learned answer in characters.
    """

    form: LabelForm
    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    mean: float = 0.0
    spread: float = 1.0
    longest: int = 0
    leaves_out: bool = False
    """Whether labels of a set that are not among `names` are left out: where `data.labels` says which count."""

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> LabelSpace:
        """Return the space whose `facts` an artifact kept."""
        names, counts = tuple(facts["names"]), tuple(facts["counts"])
        numbers = facts["mean"], facts["spread"], facts["longest"]
        return cls(facts["form"], names, counts, *numbers, leaves_out=facts["leaves_out"])

    @property
    def facts(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def place(self, name: str) -> int:
        """Return the number of a label.

        Raises:
            RowFault: training never met it.
        """
        try:
            return self.names.index(name)
        except ValueError:
            known = ", ".join(self.names[:20]) + (", …" if len(self.names) > 20 else "")
            found = f"label {name!r} is not one that training rows have (they have: {known})"
            remedy = nearest(name, self.names) or "add training rows with it, or remove this row"
            raise RowFault(found, remedy) from None

    def encoded(self, label: Label | None) -> tuple[float, ...]:
        """Return a row's label as numbers; tags and answers, which lie on tokens, are the renderer's.

        Raises:
            RowFault: training never met the label.
        """
        if isinstance(label, str):
            return (float(self.place(label)),)
        if isinstance(label, float):
            return ((label - self.mean) / self.spread,)
        assert isinstance(label, tuple) and self.form == "classes", "tags and answers are laid on tokens"
        places = {self.place(str(name)) for name in label if not self.leaves_out or name in self.names}
        return tuple(float(place in places) for place in range(len(self.names)))


def read_labels(rows: Rows, data: DataSection) -> LabelSpace:
    """Return the labels that the training `rows` have, in alphabetical order, or those that `data.labels` lists.

    Raises:
        DataError: fewer than two labels, a label in one row only, or numbers that are all the same.
    """
    form = FORMS[rows.format]
    labels = list(_labels(rows))
    if form in ("value", "span") and data.labels:
        raise DataError(Problem("data.labels", f"rows of format {rows.format} have none", remedy="remove it"))
    if form != "class" and data.class_weights != "none":
        found = f"rows of format {rows.format} are not told apart by classes"
        raise DataError(Problem("data.class_weights", found, "none, but for format classification", "remove it"))
    if form == "value":
        return _read_numbers(rows, [label for _, label in labels if isinstance(label, float)])
    if form == "span":
        learned = [label[0] for _, label in labels if isinstance(label, tuple)]
        return LabelSpace(form, longest=max((len(a.text) for a in learned if isinstance(a, Answer)), default=0))
    return _read_names(rows, labels, data.labels)


def _labels(rows: Rows) -> Iterator[tuple[str, Label]]:
    """Yield where each row stands and its label; faulty rows are told by `prepare`, all together."""
    for origins, chunk in rows.chunks():
        for origin, row in zip(origins, chunk, strict=True):
            try:
                example = to_example(row, rows.format, rows.columns)
            except RowFault:
                continue
            assert isinstance(example, Labelled) and example.label is not None, "only rows with labels come here"
            yield origin, example.label


def _read_names(rows: Rows, labels: Sequence[tuple[str, Label]], given: Sequence[str]) -> LabelSpace:
    form = FORMS[rows.format]
    counts: Counter[str] = Counter()
    last: dict[str, str] = {}
    for origin, label in labels:
        own = [label] if isinstance(label, str) else [str(name) for name in label] if isinstance(label, tuple) else []
        counts.update(own)
        last.update(dict.fromkeys(own, origin))
    names = tuple(given) or tuple(sorted(counts))
    if labels and len(names) < (1 if form == "classes" else 2):
        found = f"all {len(labels)} training rows have one label: {', '.join(names)}" if names else "no row has a label"
        raise DataError(Problem(rows.name, found, "at least two labels", "add rows with other labels"))
    rare = [name for name in names if counts[name] == 1] if form != "tags" and not given else []
    if rare:
        remedy = "add rows with it, merge it into another label, or accept it by listing all labels in data.labels"
        told = [Problem(last[name], f"label {name!r} occurs in this training row only", "", remedy) for name in rare]
        more = [Problem(rows.name, f"{len(rare)} labels occur once")] if len(rare) > FAULTS_TOLD else []
        raise DataError(*told[:FAULTS_TOLD], *more)
    leaves_out = form == "classes" and bool(given)
    return LabelSpace(form, names, tuple(counts[name] for name in names), leaves_out=leaves_out)


def _read_numbers(rows: Rows, numbers: Sequence[float]) -> LabelSpace:
    if not numbers:
        return LabelSpace("value")
    try:
        mean = math.fsum(numbers) / len(numbers)
        spread = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / len(numbers))
    except OverflowError:
        raise DataError(Problem(rows.name, "the targets are too large to be squared", remedy="divide them")) from None
    if spread == 0:
        found = f"all {len(numbers)} training rows have the target {numbers[0]:g}"
        raise DataError(Problem(rows.name, found, remedy="look at the column that data.columns maps to `target`"))
    return LabelSpace("value", mean=mean, spread=spread)
