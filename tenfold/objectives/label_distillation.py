"""The loss of a student that answers with labels: its own rows' labels, mixed with what its teacher makes of each row.

    loss = (1 - alpha) * loss of the labels + alpha * T² * divergence of teacher and student, both softened by T

Of several labels each is a distribution of its own, over yes and no; of numbers the divergence is the squared error to
the teacher's number, and there is no temperature.

Source: Hinton et al. 2015 (arXiv 1503.02531), section 2; section 2.1 for squared differences of what a head says.

Shape letters: N rows, C labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import torch
from torch import Tensor

from tenfold.data.batch import Batch
from tenfold.kernels.linear_distillation import Mixture, TopTokens, distillation_of_logits
from tenfold.models.trunk import Trunk
from tenfold.objectives.labels import WholeRowLoss
from tenfold.objectives.objective import Loss

TaughtForm = Literal["class", "classes", "value"]
"""What a teacher's answers are: chances of one class, of each label by itself, or a number."""


class LabelSource(Protocol):
    """Where a teacher's answers to rows come from. Its `repr` tells it from any other."""

    def logits(self, batch: Batch) -> Tensor:
        """Return the teacher's logits for the batch's rows, [N, C] in fp32, in the student's labels and units."""
        ...


@dataclass(frozen=True)
class LabelDistillation:
    """The mixed loss, summed over the units that `own`, the loss of the labels, counts."""

    teacher: LabelSource
    own: WholeRowLoss
    form: TaughtForm
    mixture: Mixture

    def weight(self, batch: Batch) -> int:
        """Return the number of rows, or of yes-or-no questions."""
        return self.own.weight(batch)

    def __call__(self, model: Trunk, batch: Batch) -> Loss:
        """Return the summed loss."""
        logits, alpha = model.logits(batch), self.mixture.alpha
        taught = divergence(logits, self.teacher.logits(batch).to(logits.device), self.form, self.mixture)
        if alpha == 1:
            return Loss(taught)
        return Loss((1 - alpha) * self.own.total(logits, batch) + alpha * taught)


def divergence(logits: Tensor, teacher: Tensor, form: TaughtForm, mixture: Mixture) -> Tensor:
    """Return T² times the divergence of the two [N, C], or their squared error, summed; alpha plays no part."""
    if form == "value":
        return (logits - teacher).square().sum()
    if form == "classes":
        logits, teacher = _yes_or_no(logits), _yes_or_no(teacher)
    log_q = torch.log_softmax(teacher.float() / mixture.temperature, -1)
    every = torch.arange(logits.shape[1], device=logits.device).expand_as(log_q)
    whole = TopTokens(every, log_q, log_q.new_full((len(log_q),), -torch.inf))
    nothing = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)  # unread: alpha 1 leaves targets out
    return distillation_of_logits(logits, nothing, whole, replace(mixture, alpha=1.0))


def _yes_or_no(logits: Tensor) -> Tensor:
    """Return two logits for each of [N, C], no and yes, [N C, 2], whose softmax is the sigmoid."""
    yes = logits.reshape(-1)
    return torch.stack([torch.zeros_like(yes), yes], -1)
