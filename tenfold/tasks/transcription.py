"""Rows of speech: a clip is heard, what was said is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.data.examples import Example, Turn
from tenfold.data.fields import RowFault
from tenfold.data.prepare import Item, Prepared, items
from tenfold.data.sources import Rows
from tenfold.data.speech_render import SpeechRenderer
from tenfold.errors import DataError, Problem
from tenfold.evaluation.from_source import answer_sources, score_sources
from tenfold.evaluation.score import default_max_new_tokens
from tenfold.evaluation.scorecard import Score
from tenfold.models.encoder_decoder import EncoderDecoder
from tenfold.models.processor import Processor
from tenfold.models.speech_encoder import SpeechEncoder
from tenfold.models.trunk import Trunk
from tenfold.objectives.causal_lm import CausalLanguageModelling
from tenfold.objectives.objective import Objective
from tenfold.objectives.transcript import TranscriptAlignment
from tenfold.recipe import DataSection, OptimSection
from tenfold.tasks.generation import Question, read_questions, require_metrics_of_words

DEFAULT_NEW_TOKENS = 200
"""Longest transcript, in tokens, where the command does not say: half a minute of fast speech."""


class Transcription:
    """Tasks of speech recognition: the loss is on the transcripts' tokens, the score counts edits."""

    name = "transcription"
    head = None

    def __init__(self, processor: Processor, data: DataSection) -> None:
        self.data = data
        self.processor = processor
        self.renderer = SpeechRenderer(processor, data)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What must be known to open the kind again."""
        return {"kind": self.name, "format": "speech"}

    @property
    def smooths_labels(self) -> bool:
        """Whether the loss is over tokens: an alignment of sound and transcript has no targets to smooth."""
        return not self.processor.is_ctc

    def objective(self, optim: OptimSection) -> Objective:
        """Return the loss: cross entropy for models with a decoder, alignment for those without."""
        if self.processor.is_ctc:
            return TranscriptAlignment()
        return CausalLanguageModelling(label_smoothing=optim.label_smoothing)

    def items(self, prepared: Prepared, *, max_rows: int, seed: int) -> list[Item]:
        """Return at most `max_rows` clips to write down, chosen by content and seed."""
        return items(prepared, self.renderer, max_rows=max_rows, seed=seed)

    def settled(self, items: Sequence[Item], data: DataSection) -> DataSection:
        """Return `data` with word and character error rates, and room for the longest transcript.

        Raises:
            DataError: it names a metric of labels.
        """
        require_metrics_of_words(data)
        if not items:
            return data
        limit = data.max_new_tokens or default_max_new_tokens(
            self.renderer.tokenizer, [self.processor.as_written(item.reference) for item in items]
        )
        return data.model_copy(update={"metrics": data.metrics or ("wer", "cer"), "max_new_tokens": limit})

    def score(self, model: Trunk, items: Sequence[Item], *, stage: str, task: str, data: DataSection) -> Score:
        """Return the task's score: metrics over greedy transcripts, and what the references cost in likelihood."""
        assert isinstance(model, EncoderDecoder | SpeechEncoder), "speech is heard by a speech model"
        return score_sources(
            model,
            items,
            stage=stage,
            task=task,
            metrics=data.metrics or ("wer", "cer"),
            max_new_tokens=data.max_new_tokens or DEFAULT_NEW_TOKENS,
            collate=self.renderer.collate,
        )

    def questions(self, rows: Rows) -> list[Question]:
        """Return each row's clip.

        Raises:
            DataError: a clip cannot be heard.
        """
        return read_questions(rows, self.renderer)

    def question(self, prompt: str) -> Question:
        """Return the audio file `prompt`.

        Raises:
            DataError: it cannot be heard.
        """
        example = Example((Turn("user", prompt),), is_speech=True)
        try:
            return Question(example, self.renderer.ask(example))
        except RowFault as fault:
            raise DataError(Problem("--prompt", str(fault), "an audio file", fault.remedy)) from None

    def answers(
        self, model: Trunk, questions: Sequence[Question], *, max_new_tokens: int | None
    ) -> list[dict[str, Any]]:
        """Return `audio`, `response` and, where the row has one, `reference` of each question.

        `cut` is there, and true, where the response stopped at `max_new_tokens` instead of at an end.
        """
        assert isinstance(model, EncoderDecoder | SpeechEncoder), "speech is heard by a speech model"
        answers = answer_sources(
            model,
            [question.asked for question in questions],
            collate=self.renderer.collate,
            max_new_tokens=max_new_tokens or DEFAULT_NEW_TOKENS,
        )
        return [
            {"audio": question.example.turns[0].content, "response": answer.text}
            | ({"cut": True} if answer.is_cut else {})
            | ({} if question.reference is None else {"reference": question.reference})
            for question, answer in zip(questions, answers, strict=True)
        ]
