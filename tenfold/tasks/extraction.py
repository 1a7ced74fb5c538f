"""Rows whose question is answered by a part of their context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tenfold.data.batch import IGNORED
from tenfold.data.label_render import Laid
from tenfold.data.labelled import Answer, Labelled
from tenfold.errors import Problem, UserError
from tenfold.evaluation.scorecard import Measure
from tenfold.evaluation.span_metrics import answer_measures
from tenfold.models.heads import HeadSettings
from tenfold.objectives.labels import SpanCrossEntropy
from tenfold.recipe import OptimSection
from tenfold.tasks.labels import LabelKind, LabelledItem


class Extraction(LabelKind):
    """Tasks of answers within a context: cross entropy of the answer's first and last token.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 4.2. Departure: a context that is longer than
    `data.max_length` loses its end; it is not read in overlapping windows.
    """

    name = "extraction"
    metrics = ("squad_f1", "squad_exact_match")

    @property
    def head(self) -> HeadSettings:
        """Two outputs on every token: does the answer begin here, does it end here."""
        return HeadSettings(2, pooling="none", shared_with=self.data.head)

    def objective(self, optim: OptimSection) -> SpanCrossEntropy:
        """Return the cross entropy of both ends."""
        return SpanCrossEntropy()

    def measures(self, logits: Sequence[Tensor], items: Sequence[LabelledItem]) -> list[Measure]:
        """Return SQuAD's F1 and exact match, and how likely both ends were."""
        answers = [row["label"] for row in self.predicted(logits, [item.example for item in items])]
        wanted = [_right_answers(item.example) for item in items]
        losses = tuple(_loss(row, item.labels) for row, item in zip(logits, items, strict=True))
        likelihood = Measure("negative_log_likelihood", "nats for both ends", False, losses)
        return [*answer_measures(answers, wanted), likelihood]

    def predicted(self, logits: Sequence[Tensor], examples: Sequence[Labelled]) -> list[dict[str, Any]]:
        """Return as `label` the most probable part of the context, its `start` in characters and its `probability`."""
        rows = zip(logits, self.renderer.lay(examples), examples, strict=True)
        return [self._best(row.double(), laid, example) for row, laid, example in rows]

    def _best(self, row: Tensor, laid: Laid, example: Labelled) -> dict[str, Any]:
        """Return the span of context tokens of highest probability, no longer than any answer that was learned."""
        offsets = laid.offsets[1]
        begins, ends = torch.log_softmax(row, dim=0)[laid.places[1] : laid.places[1] + len(offsets)].T
        starts = torch.tensor([start for start, _ in offsets])
        stops = torch.tensor([stop for _, stop in offsets])
        scores = begins[:, None] + ends[None, :]
        lengths = stops[None, :] - starts[:, None]
        places = torch.arange(len(offsets))
        allowed = (places[None, :] == places[:, None]) | (
            (places[None, :] > places[:, None]) & (lengths <= max(1, self.space.longest))
        )
        best = int(torch.where(allowed, scores, -torch.inf).argmax())
        first, last = divmod(best, len(offsets))
        start, stop = int(starts[first]), int(stops[last])
        text = example.texts[1][start:stop]
        start += len(text) - len(text.lstrip())
        return {"label": text.strip(), "start": start, "probability": float(scores[first, last].exp())}

    def question(self, prompt: str) -> Labelled:
        """Refuse: a question needs a context.

        Raises:
            UserError: always.
        """
        remedy = "give rows with `question` and `context` as --data"
        raise UserError(Problem("--prompt", "a question without the context that answers it", remedy=remedy))

    def asked(self, question: Labelled) -> dict[str, Any]:
        """Return question and context."""
        return {"question": question.texts[0], "context": question.texts[1]}

    def reference(self, question: Labelled) -> Any:
        """Return the right answer, or all of them."""
        right = _right_answers(question)
        return right[0] if len(right) == 1 else right


def _right_answers(example: Labelled) -> list[str]:
    assert isinstance(example.label, tuple)
    return list(dict.fromkeys(answer.text for answer in example.label if isinstance(answer, Answer)))


def _loss(row: Tensor, ends: Sequence[float]) -> float:
    """Return the negative log likelihood of the answer's two ends; 0 where it was cut off."""
    first, last = int(ends[0]), int(ends[1])
    if first == IGNORED:
        return 0.0
    chances = torch.log_softmax(row.double(), dim=0)
    return -float(chances[first, 0] + chances[last, 1])
