"""What a run is asked to learn: named tasks, each of them data that knows how to be trained on and scored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tenfold.data.formats import WORDS
from tenfold.data.gate import Finding, check_signal
from tenfold.data.label_space import LabelSpace, read_labels
from tenfold.data.prepare import Item, Prepared, prepare
from tenfold.data.sources import Rows
from tenfold.data.splits import Splits
from tenfold.data.windows import MICRO_BATCH_TOKENS, Windows
from tenfold.errors import DataError, Problem, collecting
from tenfold.evaluation.scorecard import Score
from tenfold.models.families import require_family
from tenfold.models.processor import Processor
from tenfold.models.trunk import Trunk
from tenfold.objectives.objective import Objective
from tenfold.recipe import DataSection, Recipe
from tenfold.tasks.classification import Classification
from tenfold.tasks.extraction import Extraction
from tenfold.tasks.generation import Generation
from tenfold.tasks.kind import TaskKind
from tenfold.tasks.labels import LabelKind
from tenfold.tasks.masked_words import MaskedWords
from tenfold.tasks.multi_label import MultiLabel
from tenfold.tasks.regression import Regression
from tenfold.tasks.tagging import Tagging
from tenfold.tasks.transcription import Transcription
from tenfold.tasks.translation import Translation


@dataclass(frozen=True)
class Task:
    """One task of a run: its rows as tokens, and the rows that judge it."""

    name: str
    kind: TaskKind
    data: DataSection
    """The task's section of the recipe, with metrics and the length of answers settled."""
    train: Prepared
    validation: Prepared | None
    test: Prepared | None
    items: list[Item]
    """The test rows that the scorecard reports."""
    windows: Windows
    findings: list[Finding]
    """What the gate found and the recipe allows."""

    @property
    def sides(self) -> dict[str, Prepared]:
        """The sides that have rows, by name."""
        sides = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: side for name, side in sides.items() if side is not None}

    def objective(self, recipe: Recipe) -> Objective:
        """Return the loss that trains the task."""
        return self.kind.objective(recipe.optim)

    @property
    def judged_by(self) -> dict[str, object]:
        """All that decides the task's score for given weights, as plain values."""
        test = "" if self.test is None else self.test.fingerprint
        rows = [item.row for item in self.items]
        return {
            "task": self.name,
            "kind": dict(self.kind.facts),
            "test": test,
            "rows": rows,
            "data": self.data.model_dump(),
        }

    def score(self, model: Trunk, *, stage: str) -> Score:
        """Return the model's score on the task's test rows."""
        return self.kind.score(model, self.items, stage=stage, task=self.name, data=self.data)


LABEL_KINDS: Mapping[str, type[LabelKind]] = {
    "classification": Classification,
    "multi_label": MultiLabel,
    "regression": Regression,
    "tags": Tagging,
    "span": Extraction,
}
"""The kind of task that rows of each format with labels are."""


_TURNS = tuple(name for name in WORDS if name not in ("text", "speech"))

READERS: Mapping[str, tuple[str, ...]] = {
    "system": _TURNS,
    "prompt": ("translation",),
    "language": ("translation", "speech"),
    "source_language": ("translation",),
    "template": (*_TURNS, "text"),
    "chat_template": (*_TURNS, "text"),
    "train_on": _TURNS,
    "labels": ("classification", "multi_label", "tags"),
    "class_weights": ("classification",),
    "pooling": ("classification", "multi_label", "regression"),
}
"""The formats of rows that read each setting of `data`; any format reads those that are not here."""


def make_kind(
    rows: Rows, processor: Processor, data: DataSection, *, task: str, shared: DataSection | None = None
) -> TaskKind:
    """Return the kind of task that training `rows` are for the model that `processor` stands before.

    `task` is what the recipe calls it; `shared` are the settings that it has in common with the recipe's other tasks.

    Raises:
        DataError: such a model cannot learn from such rows, their labels leave nothing to tell apart, or a setting
            would be read by nothing.
    """
    _require_readers(rows.format, data, shared)
    require_family(rows.format, processor.family)
    kind = LABEL_KINDS.get(rows.format)
    if kind is None:
        return _words(rows.format, processor, data, task=task)
    is_encoder, space = processor.family == "encoder", read_labels(rows, data)
    return kind(processor.tokenizer, data, format=rows.format, task=task, space=space, is_encoder=is_encoder)


def reopen_kind(facts: Mapping[str, Any], processor: Processor, data: DataSection, *, task: str) -> TaskKind:
    """Return the kind whose `facts` an artifact kept."""
    kind, format = LABEL_KINDS.get(facts["format"]), str(facts["format"])
    if kind is None:
        return _words(format, processor, data, task=task)
    space = LabelSpace.from_facts(facts["labels"])
    opened = kind(processor.tokenizer, data, format=format, task=task, space=space, is_encoder=facts["is_encoder"])
    opened.reopen(facts)
    return opened


def readable(facts: Mapping[str, Any], needed: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Return the formats that a kind with these `facts` reads, with the columns that `needed` says."""
    format = facts["format"]
    alone = format in LABEL_KINDS or format in ("speech", "translation") or facts["kind"] == MaskedWords.name
    own = [format] if alone else [name for name in WORDS if name not in ("speech", "translation")]
    return {name: needed[name] for name in own}


def _words(format: str, processor: Processor, data: DataSection, *, task: str) -> TaskKind:
    if format == "speech":
        return Transcription(processor, data)
    if processor.family == "encoder":
        return MaskedWords(processor, data, task=task)
    kind = Translation if format == "translation" else Generation
    return kind(processor, data, format=format)


def _require_readers(format: str, data: DataSection, shared: DataSection | None) -> None:
    """Refuse settings that rows of this format have no use for; what is `shared` may be meant for other tasks."""
    usual = DataSection.model_fields
    problems = [
        Problem(f"data.{name}", f"would be read by nothing: the rows' format is {format}", " or ".join(formats))
        for name, formats in READERS.items()
        if format not in formats
        and getattr(data, name) != usual[name].default
        and (shared is None or getattr(data, name) != getattr(shared, name))
    ]
    if problems:
        raise DataError(*problems)


def open_task(name: str, splits: Splits, processor: Processor, recipe: Recipe, *, context: int | None) -> Task:
    """Return the task `name` of `recipe` with its rows tokenised and looked through by the gate.

    `context` is how many tokens the model reads at most (None: no limit).

    Raises:
        DataError: rows that cannot be learned from, or are too long for the model.
        SignalError: the gate refuses them.
    """
    data = recipe.tasks[name]
    shared = recipe.data if recipe.data.tasks else None
    kind = make_kind(splits.train, processor, data, task=name, shared=shared)
    sides = _prepared({"train": splits.train, "validation": splits.validation, "test": splits.test}, kind, name)
    require_context(sides.values(), context)
    train, validation, test = sides["train"], sides.get("validation"), sides.get("test")
    notes = kind.notes if isinstance(kind, MaskedWords) else []
    findings = notes + check_signal(
        train, {"validation": validation, "test": test}, renderer=kind.renderer, gate=recipe.gate
    )
    seed = recipe.runtime.seed
    items = [] if test is None else kind.items(test, max_rows=recipe.evaluation.max_rows, seed=seed)
    return Task(
        name=name,
        kind=kind,
        data=kind.settled(items, data),
        train=train,
        validation=validation,
        test=test,
        items=items,
        windows=Windows(
            train,
            batch_size=recipe.optim.batch_size,
            micro_batch_tokens=recipe.runtime.micro_batch_tokens or MICRO_BATCH_TOKENS,
            seed=seed,
        ),
        findings=findings,
    )


def _prepared(sides: Mapping[str, Rows | None], kind: TaskKind, task: str) -> dict[str, Prepared]:
    """Return the sides that have rows, as tokens; faulty rows of all sides are told together."""
    problems: list[Problem] = []
    prepared = {}
    for name, rows in sides.items():
        if rows is not None:
            with collecting(problems):
                prepared[name] = prepare(rows, kind.renderer, task=task, side=name)
    if problems:
        raise DataError(*dict.fromkeys(problems))
    return prepared


def require_context(sides: Iterable[Prepared], context: int | None) -> None:
    """Check that no row is longer than the `context` tokens that the model reads at most (None: no limit).

    Raises:
        DataError: some are; with the place of the first one of each side.
    """
    problems = []
    for side in sides if context is not None else ():
        lengths = side.column("length")
        if side.rows.format != "speech":  # how much of a clip a model hears is said in seconds
            lengths = np.maximum(lengths, side.column("source_length"))
        longest = int(lengths.argmax())
        if lengths[longest] > context:
            count = int((lengths > context).sum())
            found = f"{lengths[longest]:,} tokens, more than the model can read ({count} such rows)"
            problems.append(
                Problem(side.origin(longest), found, f"at most {context:,}", f"set data.max_length: {context}")
            )
    if problems:
        raise DataError(*problems)
