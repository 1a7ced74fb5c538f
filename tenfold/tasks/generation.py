"""Rows that are answered in words: conversations, prompts with responses, raw text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tenfold.data.batch import Entry
from tenfold.data.examples import SEPARATORS, Example, Turn
from tenfold.data.fields import RowFault
from tenfold.data.prepare import Item, Prepared, items
from tenfold.data.render import Renderer
from tenfold.data.rendered import WordRenderer
from tenfold.data.source_render import SourceRenderer
from tenfold.data.sources import Rows
from tenfold.errors import DataError, Problem
from tenfold.evaluation.from_source import answer_sources, score_sources
from tenfold.evaluation.generate import greedy_answers
from tenfold.evaluation.metrics import METRICS, choose_metrics
from tenfold.evaluation.score import default_max_new_tokens, score_task
from tenfold.evaluation.scorecard import Score
from tenfold.models.encoder_decoder import EncoderDecoder
from tenfold.models.language_model import LanguageModel
from tenfold.models.processor import Processor
from tenfold.models.trunk import Trunk
from tenfold.objectives.causal_lm import CausalLanguageModelling
from tenfold.recipe import DataSection, OptimSection

DEFAULT_NEW_TOKENS = 256
"""Longest answer to a prompt, in tokens, where the command does not say."""


@dataclass(frozen=True)
class Question:
    """Something to answer, what the model is given for it, and the answer that the row holds, if it holds one."""

    example: Example
    asked: Entry
    reference: str | None = None


class Generation:
    """Tasks of language modelling: the loss is on the responses' tokens, the score on greedy answers."""

    name = "generation"
    asks = "prompt"
    """What the part of a row is called that asks."""
    head = None
    smooths_labels = True

    def __init__(self, processor: Processor, data: DataSection, *, format: str) -> None:
        self.data = data
        self.renderer: WordRenderer = Renderer(processor.tokenizer, data)
        if processor.family == "encoder_decoder":
            assert processor.start is not None, "a decoder beside an encoder has a start token"
            self.renderer = SourceRenderer(processor.tokenizer, data, start=processor.start)
        self.format = format

    @property
    def facts(self) -> Mapping[str, Any]:
        """The format of the rows, which decides how a prompt alone is laid out."""
        return {"kind": self.name, "format": self.format}

    def objective(self, optim: OptimSection) -> CausalLanguageModelling:
        """Return the cross entropy of supervised tokens."""
        return CausalLanguageModelling(label_smoothing=optim.label_smoothing)

    def items(self, prepared: Prepared, *, max_rows: int, seed: int) -> list[Item]:
        """Return at most `max_rows` rows to answer, chosen by content and seed."""
        return items(prepared, self.renderer, max_rows=max_rows, seed=seed)

    def settled(self, items: Sequence[Item], data: DataSection) -> DataSection:
        """Return `data` with metrics that fit the references, and room for the longest of them.

        Raises:
            DataError: it names a metric of labels.
        """
        require_metrics_of_words(data)
        references = [item.reference for item in items if item.reference]
        if not references:
            return data
        metrics = data.metrics or self.metrics_for(references)
        limit = data.max_new_tokens or default_max_new_tokens(self.renderer.tokenizer, references)
        return data.model_copy(update={"metrics": metrics, "max_new_tokens": limit})

    def metrics_for(self, references: Sequence[str]) -> tuple[str, ...]:
        """Return the metrics that fit `references`, the task metric first."""
        return choose_metrics(references)

    def score(self, model: Trunk, items: Sequence[Item], *, stage: str, task: str, data: DataSection) -> Score:
        """Return the task's score: metrics over greedy answers, and what the references cost in likelihood."""
        if isinstance(model, EncoderDecoder):
            return score_sources(
                model,
                items,
                stage=stage,
                task=task,
                metrics=data.metrics or self.metrics_for([item.reference for item in items]),
                max_new_tokens=data.max_new_tokens or DEFAULT_NEW_TOKENS,
                collate=self.renderer.collate,
            )
        assert isinstance(model, LanguageModel), "words are written by a language model"
        return score_task(
            model,
            items,
            stage=stage,
            task=task,
            stop_ids=self.renderer.stop_ids,
            metrics=data.metrics,
            max_new_tokens=data.max_new_tokens,
        )

    def questions(self, rows: Rows) -> list[Question]:
        """Return each row without its last reply.

        Raises:
            DataError: a row asks nothing.
        """
        return read_questions(rows, self.renderer)

    def question(self, prompt: str) -> Question:
        """Return `prompt` as something to answer.

        Raises:
            DataError: the model's prompts name a language, and the recipe does not say which.
        """
        example = self.ask([Turn("user", prompt)])
        try:
            return Question(example, self.renderer.ask(example))
        except RowFault as fault:
            raise DataError(Problem("--prompt", str(fault), remedy=fault.remedy)) from None

    def ask(self, turns: Sequence[Turn]) -> Example:
        """Return `turns` as an example laid out as the rows were that the artifact learned from."""
        return Example(tuple(turns), separator=SEPARATORS.get(self.format, "\n"))

    def answers(
        self, model: Trunk, questions: Sequence[Question], *, max_new_tokens: int | None
    ) -> list[dict[str, Any]]:
        """Return the prompt (or source), `response` and, where the row has one, `reference` of each question.

        `cut` is there, and true, where the response stopped at `max_new_tokens` instead of at an end.
        """
        limit = max_new_tokens or DEFAULT_NEW_TOKENS
        asked = [question.asked for question in questions]
        if isinstance(model, EncoderDecoder):
            answers = answer_sources(model, asked, collate=self.renderer.collate, max_new_tokens=limit)
        else:
            with model.autocasting():
                answers = greedy_answers(
                    model.network,
                    model.tokenizer,
                    [entry.input_ids for entry in asked],
                    stop_ids=self.renderer.stop_ids,
                    max_new_tokens=limit,
                )
        return [
            {self.asks: question.example.turns[-1].content, "response": answer.text}
            | ({"cut": True} if answer.is_cut else {})
            | ({} if question.reference is None else {"reference": question.reference})
            for question, answer in zip(questions, answers, strict=True)
        ]


def require_metrics_of_words(data: DataSection) -> None:
    """Check that every metric that `data` names compares words with words.

    Raises:
        DataError: it names a metric of labels.
    """
    unknown = [name for name in data.metrics if name not in METRICS]
    if unknown:
        found = f"{', '.join(unknown)} cannot be measured where rows are answered in words"
        raise DataError(Problem("evaluation.metrics", found, ", ".join(METRICS), "name one of these"))


def read_questions(rows: Rows, renderer: WordRenderer) -> list[Question]:
    """Return what each row asks, without its last reply, ready to be given to the model.

    Raises:
        DataError: a row asks nothing.
    """
    questions = []
    for origins, chunk in rows.chunks():
        for origin, row in zip(origins, chunk, strict=True):
            try:
                example, reference = rows.read_question(row)
                questions.append(Question(example, renderer.ask(example), reference))
            except RowFault as fault:
                raise DataError(Problem(origin, str(fault), remedy=fault.remedy)) from None
    return questions
