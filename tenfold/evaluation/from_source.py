"""What does a model with an encoder answer, and how probable does it find the reference? Sources are read whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from tenfold.data.batch import Batch, Entry
from tenfold.evaluation.generate import batches_by_length
from tenfold.evaluation.likelihood import Losses
from tenfold.evaluation.metrics import METRICS
from tenfold.evaluation.score import likelihood_measures
from tenfold.evaluation.scorecard import Score
from tenfold.models.generate import Answer, evaluating

BATCH_POSITIONS = 24_000
"""Positions of the encoder, and new tokens, in one batch: 16 clips of Whisper's 1,500."""


class AnswersSources(Protocol):
    """What is asked of a model with an encoder."""

    @property
    def network(self) -> nn.Module:
        """What is called; its dropout must be off while it is judged."""
        ...

    def answers(self, batch: Batch, *, max_new_tokens: int) -> Sequence[Answer]:
        """Return what the model writes for each row's source, greedily, after the row's tokens."""
        ...

    def row_losses(self, batch: Batch) -> Tensor:
        """Return minus the log likelihood of each row's reference, [N]."""
        ...


class Collates(Protocol):
    """What makes a batch of entries."""

    def __call__(self, entries: Sequence[Entry], *, task: str = ...) -> Batch:
        """Return `entries` as one batch."""
        ...


class SourceItem(Protocol):
    """One test row: a source to read, what writing starts from, and the reference as text and as tokens."""

    @property
    def prompt_ids(self) -> list[int]:
        """What the decoder starts from."""
        ...

    @property
    def reference(self) -> str:
        """The answer that is wanted."""
        ...

    @property
    def input_ids(self) -> list[int]:
        """The reference's tokens, after what writing starts from."""
        ...

    @property
    def supervised(self) -> list[bool]:
        """Whether each token is in the loss."""
        ...

    @property
    def source(self) -> Sequence[int] | str | None:
        """What the encoder reads."""
        ...

    @property
    def source_length(self) -> int:
        """Positions of the encoder that it takes."""
        ...


def score_sources(
    model: AnswersSources,
    items: Sequence[SourceItem],
    *,
    stage: str,
    task: str,
    metrics: Sequence[str],
    max_new_tokens: int,
    collate: Collates,
) -> Score:
    """Return the task's score: its metrics over greedy answers, and what the references cost in likelihood."""
    references = [item.reference for item in items]
    asked = [
        Entry(place, item.prompt_ids, [False] * len(item.prompt_ids), (), item.source, item.source_length)
        for place, item in enumerate(items)
    ]
    answers = answer_sources(model, asked, collate=collate, max_new_tokens=max_new_tokens)
    predictions = [answer.text for answer in answers]
    measures = [METRICS[name].measure(predictions, references) for name in metrics]
    measures += likelihood_measures(source_losses(model, items, collate=collate))
    cut = tuple(answer.is_cut for answer in answers)
    return Score(stage, task, {measure.name: measure for measure in measures}, tuple(predictions), cut)


def answer_sources(
    model: AnswersSources,
    asked: Sequence[Entry],
    *,
    collate: Collates,
    max_new_tokens: int,
    batch_positions: int = BATCH_POSITIONS,
) -> list[Answer]:
    """Return the greedy answer to each source, in order; sources of like length share a batch."""
    answers = [Answer("", is_cut=False)] * len(asked)
    with evaluating(model.network):
        # what writing starts from has one length in a batch: without a language it is shorter
        for size in sorted({len(entry.input_ids) for entry in asked}):
            places = [place for place, entry in enumerate(asked) if len(entry.input_ids) == size]
            lengths = [asked[place].source_length for place in places]
            for batch in batches_by_length(lengths, max_new_tokens, batch_positions):
                members = [places[index] for index in batch]
                found = model.answers(collate([asked[place] for place in members]), max_new_tokens=max_new_tokens)
                for place, answer in zip(members, found, strict=True):
                    answers[place] = answer
    return answers


def source_losses(
    model: AnswersSources, items: Sequence[SourceItem], *, collate: Collates, batch_positions: int = BATCH_POSITIONS
) -> list[Losses]:
    """Return what each reference costs; the token that ends it, if there is one, is among its tokens."""
    nats = [0.0] * len(items)
    lengths = [item.source_length + len(item.input_ids) for item in items]
    with evaluating(model.network):
        for batch in batches_by_length(lengths, 0, batch_positions):
            entries = [
                Entry(
                    place,
                    items[place].input_ids,
                    items[place].supervised,
                    (),
                    items[place].source,
                    items[place].source_length,
                )
                for place in batch
            ]
            for place, loss in zip(batch, model.row_losses(collate(entries)).tolist(), strict=True):
                nats[place] = loss
    return [
        Losses(total, sum(item.supervised), len(item.reference.encode()))
        for total, item in zip(nats, items, strict=True)
    ]
