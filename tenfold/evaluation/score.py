"""What is the model worth at this stage? One task, or retention, as a row of the scorecard."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from tenfold.evaluation.generate import BATCH_TOKENS, greedy_answers
from tenfold.evaluation.likelihood import Losses, ScoresTokens, Tokenizer, TokenRow, response_losses
from tenfold.evaluation.metrics import METRICS, choose_metrics
from tenfold.evaluation.retention import RetentionSet, retention_measures
from tenfold.evaluation.scorecard import RETENTION, Measure, Score
from tenfold.models.generate import Answer

RESPONSE_LOSS = "response_loss"
"""What raw text is judged by: it asks nothing, so there are no answers to score."""


class ScoredItem(TokenRow, Protocol):
    """One test row: a prompt to answer, the reference, and both as one row of tokens."""

    @property
    def prompt_ids(self) -> list[int]:
        """The prompt's tokens, ready to be continued."""
        ...

    @property
    def reference(self) -> str:
        """The response that is wanted."""
        ...


class ScoredModel(ScoresTokens, Protocol):
    """What scoring a task asks of a language model."""

    def autocasting(self) -> AbstractContextManager[object]:
        """Return the block inside which the network computes in the run's precision."""
        ...


def score_task(
    model: ScoredModel,
    items: Sequence[ScoredItem],
    *,
    stage: str,
    task: str,
    stop_ids: Collection[int],
    metrics: Sequence[str] = (),
    max_new_tokens: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> Score:
    """Return the task's score: its metrics over greedy answers, and what the references cost in likelihood.

    Answers end at one of `stop_ids`: the renderer's, that made the items.

    Items of raw text ask nothing and hold no reference: they are scored by likelihood alone.

    Without `metrics` those that fit the references; the first one is the task metric. Without
    `max_new_tokens` what the longest reference needs, an eighth more, and the end of turn.
    """
    references = [item.reference for item in items]
    likelihood = likelihood_measures(response_losses(model, items))
    if not any(references):
        return Score(stage, task, {measure.name: measure for measure in likelihood})
    answers = generate_answers(
        model, items, stop_ids=stop_ids, max_new_tokens=max_new_tokens, batch_tokens=batch_tokens
    )
    predictions = [answer.text for answer in answers]
    measures = [METRICS[name].measure(predictions, references) for name in metrics or choose_metrics(references)]
    measures += likelihood
    cut = tuple(answer.is_cut for answer in answers)
    return Score(stage, task, {measure.name: measure for measure in measures}, tuple(predictions), cut)


def score_retention(model: ScoresTokens, items: RetentionSet, *, stage: str) -> Score:
    """Return the score of task `retention`."""
    return Score(stage, RETENTION, retention_measures(model, items))


def generate_answers(
    model: ScoredModel,
    items: Sequence[ScoredItem],
    *,
    stop_ids: Collection[int],
    max_new_tokens: int | None = None,
    batch_tokens: int = BATCH_TOKENS,
) -> list[Answer]:
    """Return the model's greedy answer to each item's prompt."""
    limit = max_new_tokens or default_max_new_tokens(model.tokenizer, [item.reference for item in items])
    with model.autocasting():
        return greedy_answers(
            model.network,
            model.tokenizer,
            [item.prompt_ids for item in items],
            stop_ids=stop_ids,
            max_new_tokens=limit,
            batch_tokens=batch_tokens,
        )


def default_max_new_tokens(tokenizer: Tokenizer, references: Sequence[str]) -> int:
    """Return the tokens of the longest reference, an eighth more (rounded up), and one for the end."""
    longest = max(len(tokenizer.encode(reference, add_special_tokens=False)) for reference in references)
    return longest + -(-longest // 8) + 1


def likelihood_measures(losses: Sequence[Losses]) -> list[Measure]:
    """Return `response_loss` (all nats / all tokens) and `response_bits_per_byte` (all bits / all bytes).

    One that would divide by nothing is left out: replies of their end token alone have no bytes.
    """
    by_token = Measure(
        name=RESPONSE_LOSS,
        unit="nats per token",
        higher_is_better=False,
        items=tuple(loss.per_token for loss in losses),
        weights=tuple(float(loss.num_tokens) for loss in losses),
    )
    by_byte = Measure(
        name="response_bits_per_byte",
        unit="bits per byte",
        higher_is_better=False,
        items=tuple(loss.bits_per_byte for loss in losses),
        weights=tuple(float(loss.num_bytes) for loss in losses),
    )
    return [measure for measure in (by_token, by_byte) if any(measure.weights or ())]
