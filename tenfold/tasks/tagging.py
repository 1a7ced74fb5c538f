"""Rows whose words have a tag each: entities, parts of speech."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tenfold.data.batch import IGNORED
from tenfold.data.label_render import first_pieces
from tenfold.data.labelled import Labelled
from tenfold.evaluation.scorecard import Measure
from tenfold.evaluation.span_metrics import tag_measures
from tenfold.models.heads import HeadSettings
from tenfold.objectives.labels import LabelCrossEntropy
from tenfold.recipe import OptimSection
from tenfold.tasks.labels import LabelKind, LabelledItem


class Tagging(LabelKind):
    """Tasks of tagged words: cross entropy of the tag at each word's first piece.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 5.3.
    """

    name = "tagging"
    metrics = ("entity_f1", "tag_accuracy")
    smooths_labels = True

    @property
    def head(self) -> HeadSettings:
        """One output for each tag, on every token."""
        return HeadSettings(len(self.space.names), pooling="none", shared_with=self.data.head)

    def objective(self, optim: OptimSection) -> LabelCrossEntropy:
        """Return the cross entropy of the tags."""
        return LabelCrossEntropy(label_smoothing=optim.label_smoothing)

    def measures(self, logits: Sequence[Tensor], items: Sequence[LabelledItem]) -> list[Measure]:
        """Return entity F1 (where tags name entities), the share of right tags, and how likely they were."""
        answered, wanted, losses = [], [], []
        for row, item in zip(logits, items, strict=True):
            tags = torch.tensor(item.labels).long()
            kept = tags != IGNORED
            chances = torch.log_softmax(row[kept].double(), dim=-1)
            answered.append([self.space.names[place] for place in chances.argmax(dim=-1).tolist()])
            wanted.append([self.space.names[place] for place in tags[kept].tolist()])
            losses.append(-chances.gather(1, tags[kept, None]).mean().item() if kept.any() else 0.0)
        weights = tuple(float(len(tags)) for tags in wanted)
        likelihood = Measure("negative_log_likelihood", "nats per word", False, tuple(losses), weights=weights)
        return [*tag_measures(answered, wanted), likelihood]

    def predicted(self, logits: Sequence[Tensor], examples: Sequence[Labelled]) -> list[dict[str, Any]]:
        """Return as `label` the tag of each word, and the `probabilities` of those.

        A word behind `data.max_length` is not seen: its tag is null.
        """
        answers = []
        for row, laid, example in zip(logits, self.renderer.lay(examples), examples, strict=True):
            chances = torch.softmax(row.double(), dim=-1)
            places = first_pieces(example.words, laid)
            best = [None if place is None else int(chances[place].argmax()) for place in places]
            tags = [None if tag is None else self.space.names[tag] for tag in best]
            sure = [
                None if place is None or tag is None else float(chances[place, tag])
                for place, tag in zip(places, best, strict=True)
            ]
            answers.append({"label": tags, "probabilities": sure})
        return answers

    def question(self, prompt: str) -> Labelled:
        """Return the words of `prompt`, parted at blanks."""
        words = tuple(prompt.split())
        return Labelled((" ".join(words),), words=words)

    def asked(self, question: Labelled) -> dict[str, Any]:
        """Return the words."""
        return {"tokens": list(question.words)}
