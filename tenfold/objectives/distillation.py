"""The loss of distillation: how a student is pulled towards its teacher, at the output and inside.

Source: Hinton et al. 2015 (arXiv 1503.02531) for the mixed loss; hidden states by their cosine, Sanh et al. 2019,
"DistilBERT" (arXiv 1910.01108), section 3, or by their squared distance through learned projections, Jiao et al. 2020,
"TinyBERT" (arXiv 1909.10351), equation 8. Both take all tokens; ours takes the supervised ones, so that the loss is a
sum over the units that it counts.

Shape letters: S supervised positions, H width of the student, G width of the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from tenfold.data.batch import Batch, SampledBatch
from tenfold.kernels.linear_distillation import Mixture, TopTokens, distillation_of_logits, linear_distillation
from tenfold.models.language_model import LanguageModel
from tenfold.models.outputs import Outputs, outputs
from tenfold.models.trunk import Trunk
from tenfold.objectives.objective import Loss


@dataclass(frozen=True)
class Lesson:
    """What a teacher says of a batch's supervised positions, in batch order."""

    tokens: TopTokens
    blocks: tuple[Tensor, ...] = ()  # [S, G] after each block that was asked for


class TeacherSource(Protocol):
    """Where lessons come from: a live model, or a file that one wrote. Its `repr` tells it from any other."""

    def lesson(self, batch: Batch) -> Lesson:
        """Return the lesson for `batch`."""
        ...


@dataclass(frozen=True)
class HiddenMatch:
    """Which of the student's blocks follow which states of the lesson, and how near is near.

    `projections` carry a student's state to the teacher's width, where the widths differ; one for each block.
    """

    weight: float
    distance: Literal["cosine", "mse"]
    blocks: tuple[int, ...]
    projections: tuple[nn.Module, ...] = ()

    def total(self, found: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> Tensor:
        """Return the distances of each position, the mean over the blocks, summed and times the weight."""
        totals = []
        for place, (student, teacher) in enumerate(zip(found, wanted, strict=True)):
            state = self.projections[place](student.float()) if self.projections else student.float()
            if self.distance == "cosine":
                totals.append((1 - functional.cosine_similarity(state, teacher.float(), dim=-1)).sum())
            else:
                totals.append((state - teacher.float()).square().mean(-1).sum())
        return self.weight * torch.stack(totals).mean()


@dataclass(frozen=True)
class Distillation:
    """(1 - alpha) * cross entropy + alpha * T² * divergence from the teacher, summed over supervised tokens.

    With `hidden`, the distance of hidden states on top. Where the student wrote the replies itself the cross entropy is
    left out: they are not known to be right (Agarwal et al. 2023, arXiv 2306.13649, algorithm 1).
    """

    teacher: TeacherSource
    mixture: Mixture
    hidden: HiddenMatch | None = None

    def weight(self, batch: Batch) -> int:
        """Return the number of supervised tokens."""
        return batch.num_supervised

    def __call__(self, model: Trunk, batch: Batch) -> Loss:
        """Return the summed loss."""
        assert isinstance(model, LanguageModel), "what is distilled here is the next token"
        mixture = replace(self.mixture, alpha=1.0) if isinstance(batch, SampledBatch) else self.mixture
        lesson = self.teacher.lesson(batch)
        student = outputs(model, batch, blocks=self.hidden.blocks if self.hidden else ())
        total = _mixed(model, student, lesson.tokens.to(model.device), mixture)
        if self.hidden is not None:
            total = total + self.hidden.total(student.blocks, lesson.blocks)
        return Loss(total)


def _mixed(model: LanguageModel, student: Outputs, tokens: TopTokens, mixture: Mixture) -> Tensor:
    with model.autocasting():
        if student.head is None:
            return distillation_of_logits(student.states, student.targets, tokens, mixture)
        return linear_distillation(
            student.states,
            student.head.weight,
            student.targets,
            tokens,
            mixture,
            bias=student.head.bias,
            softcap=student.head.softcap,
            scale=student.head.scale,
        )
