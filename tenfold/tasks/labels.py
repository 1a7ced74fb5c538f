"""Rows that are answered with labels: what all their kinds share; each kind says how logits become answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tenfold.data.batch import Entry, pack
from tenfold.data.examples import to_unlabelled
from tenfold.data.fields import RowFault
from tenfold.data.label_render import LabelRenderer
from tenfold.data.label_space import LabelSpace
from tenfold.data.labelled import Labelled, label_text
from tenfold.data.prepare import Item, Prepared, chosen
from tenfold.data.sources import Rows
from tenfold.data.windows import pack_bins
from tenfold.errors import DataError, Problem
from tenfold.evaluation.scorecard import Measure, Score
from tenfold.models.heads import HeadSettings, Pooling
from tenfold.models.load import Tokenizer
from tenfold.models.trunk import Trunk
from tenfold.objectives.objective import Objective
from tenfold.recipe import DataSection, OptimSection

BATCH_TOKENS = 4096
"""Tokens in one batch while answering."""


@dataclass(frozen=True, kw_only=True)
class LabelledItem(Item):
    """A row to judge by, with all that it says and its label as numbers."""

    example: Labelled
    labels: tuple[float, ...]


class LabelKind(ABC):
    """A task whose rows have labels: a head on the model is trained, and its answers are compared with the labels."""

    name: str
    metrics: tuple[str, ...]
    """The metrics that a recipe may name, the first one the task metric by default."""
    smooths_labels = False

    def __init__(
        self, tokenizer: Tokenizer, data: DataSection, *, format: str, task: str, space: LabelSpace, is_encoder: bool
    ) -> None:
        self.data = data
        self.format = format
        self.task = task
        self.space = space
        self.is_encoder = is_encoder
        self.temperature = 1.0
        """What logits are divided by before they become probabilities; chosen on validation rows."""
        self.threshold = 0.5
        """The probability from which a label is answered, where any number of them may apply."""
        self.renderer = LabelRenderer(tokenizer, data, space=space, is_encoder=is_encoder)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The format, the labels, how rows are framed, and how logits become answers."""
        return {
            "kind": self.name,
            "format": self.format,
            "is_encoder": self.is_encoder,
            "labels": self.space.facts,
            "temperature": self.temperature,
            "threshold": self.threshold,
        }

    def reopen(self, facts: Mapping[str, Any]) -> None:
        """Turn logits into answers as an artifact with these `facts` does."""
        self.temperature, self.threshold = float(facts["temperature"]), float(facts["threshold"])

    @property
    def head(self) -> HeadSettings:
        """One output for each label, on the state that answers for a row."""
        return HeadSettings(len(self.space.names), self._pooling, shared_with=self.data.head)

    @property
    def _pooling(self) -> Pooling:
        if self.data.pooling != "auto":
            return self.data.pooling
        return "mean" if self.is_encoder else "last"

    @abstractmethod
    def objective(self, optim: OptimSection) -> Objective:
        """Return the loss that trains the head."""

    @abstractmethod
    def measures(self, logits: Sequence[Tensor], items: Sequence[LabelledItem]) -> list[Measure]:
        """Return what the head's `logits` for each item are worth."""

    @abstractmethod
    def predicted(self, logits: Sequence[Tensor], examples: Sequence[Labelled]) -> list[dict[str, Any]]:
        """Return for each example what `tenfold predict` prints beside its text: `label` and how sure it is."""

    def items(self, prepared: Prepared, *, max_rows: int, seed: int) -> list[Item]:
        """Return at most `max_rows` rows to judge the model by, chosen by content and seed."""
        places = chosen(prepared, max_rows=max_rows, seed=seed)
        return [self._item(prepared, entry) for entry in prepared.entries(places)] if places else []

    def _item(self, prepared: Prepared, entry: Entry) -> LabelledItem:
        example = prepared.rows.example(entry.row)
        assert isinstance(example, Labelled), "only rows with labels come here"
        return LabelledItem(
            row=entry.row,
            prompt_ids=[],
            prompt=example.text,
            reference=label_text(example.label),
            input_ids=entry.input_ids,
            supervised=entry.supervised,
            example=example,
            labels=tuple(entry.labels),
        )

    def settled(self, items: Sequence[Item], data: DataSection) -> DataSection:
        """Return `data` with metrics chosen.

        Raises:
            DataError: it names a metric of another kind of task.
        """
        unknown = [name for name in data.metrics if name not in self.metrics]
        if unknown:
            found = f"{', '.join(unknown)} cannot be measured where rows are of format {self.format}"
            raise DataError(Problem("evaluation.metrics", found, ", ".join(self.metrics), "name one of these"))
        return data.model_copy(update={"metrics": data.metrics or self.metrics})

    def score(self, model: Trunk, items: Sequence[Item], *, stage: str, task: str, data: DataSection) -> Score:
        """Return the task's score: the metrics that `data` names first, then how likely the labels were."""
        rows = [item for item in items if isinstance(item, LabelledItem)]
        logits = self.logits(model, [item.input_ids for item in rows])
        found = {measure.name: measure for measure in self.measures(logits, rows)}
        names = dict.fromkeys([name for name in data.metrics if name in found] + list(found))
        answers = self.predicted(logits, [item.example for item in rows])
        shown = tuple(_shown(answer["label"]) for answer in answers)
        return Score(stage, task, {name: found[name] for name in names}, shown)

    @torch.no_grad()
    def logits(self, model: Trunk, rows: Sequence[Sequence[int]]) -> list[Tensor]:
        """Return what the head answers for each row of tokens, on the CPU: [C], or [tokens, C] for a head on tokens."""
        answers: list[Tensor] = [torch.empty(0)] * len(rows)
        was_training = model.network.training
        model.eval()
        for places in pack_bins([len(row) for row in rows], BATCH_TOKENS, is_padded=not model.route.packs):
            batch = pack([(place, list(rows[place]), [False] * len(rows[place])) for place in places], task=self.task)
            logits = model.logits(batch).cpu()
            parts = logits.split(batch.lengths) if self.head.pooling == "none" else logits.unbind()
            for place, part in zip(places, parts, strict=True):
                answers[place] = part
        if was_training:
            model.train()
        return answers

    def questions(self, rows: Rows) -> list[Labelled]:
        """Return what each row says.

        Raises:
            DataError: a row has no text.
        """
        questions = []
        for origins, chunk in rows.chunks():
            for origin, row in zip(origins, chunk, strict=True):
                try:
                    questions.append(to_unlabelled(row, rows.format, rows.columns))
                except RowFault as fault:
                    raise DataError(Problem(origin, str(fault), remedy=fault.remedy)) from None
        return questions

    def question(self, prompt: str) -> Labelled:
        """Return `prompt` as a text to label."""
        return Labelled((prompt,))

    def answers(
        self, model: Trunk, questions: Sequence[Labelled], *, max_new_tokens: int | None
    ) -> list[dict[str, Any]]:
        """Return `text`, `label` and how sure it is; and `reference`, where the row has a label."""
        logits = self.logits(model, [laid.ids for laid in self.renderer.lay(questions)])
        return [
            self.asked(question) | answer | ({} if question.label is None else {"reference": self.reference(question)})
            for question, answer in zip(questions, self.predicted(logits, questions), strict=True)
        ]

    def asked(self, question: Labelled) -> dict[str, Any]:
        """Return the question as `tenfold predict` prints it."""
        pair = {"text_pair": question.texts[1]} if len(question.texts) > 1 else {}
        return {"text": question.texts[0]} | pair

    def reference(self, question: Labelled) -> Any:
        """Return the question's own label as `tenfold predict` prints it."""
        return list(question.label) if isinstance(question.label, tuple) else question.label


def _shown(label: Any) -> str:
    if isinstance(label, list):
        return " ".join(map(str, label))
    return label if isinstance(label, str) else f"{label:.6g}"
