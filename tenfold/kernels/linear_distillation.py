"""The output layer and the loss against a teacher in one: what does a student pay for not answering as its teacher?

The teacher is given by its K most probable tokens and the mass of all others together, so both sides are compared over
K + 1 outcomes: the tokens, and "any other". That is never more than the divergence over all V tokens (joining
outcomes cannot make distributions easier to tell apart), and equal to it for K = V.

    loss = (1 - alpha) * cross entropy + alpha * T² * divergence of teacher q and student p, both softened by T

    forward_kl   sum q log(q / p)
    reverse_kl   sum p log(p / q)
    jsd          beta KL(q ‖ m) + (1 - beta) KL(p ‖ m),  m = beta q + (1 - beta) p

Source: the mixed loss and forward_kl, Hinton et al. 2015 (arXiv 1503.02531), section 2; reverse_kl, Gu et al. 2023,
"MiniLLM" (arXiv 2306.08543), equation 1; jsd, Agarwal et al. 2023, "GKD" (arXiv 2306.13649), equation 1.

With g_b the derivative for log p_b and G their sum over the outcomes, the gradient for the softened logit j is
g_j - p_j G for one of the K tokens, and p_j (g_rest / p_rest - G) for any other.

Shape letters: S supervised positions, C of them in one piece, H hidden size, V vocabulary, K tokens of the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from tenfold.kernels.linear_cross_entropy import cross_entropy_with_gradient
from tenfold.kernels.output_layer import Cap, logits_by_piece, summed_by_piece

Divergence = Literal["forward_kl", "reverse_kl", "jsd"]

LEAST_LOG = -60.0
"""Log-probabilities are not let below this: e⁻⁶⁰ times any loss is nothing, and its logarithm still a number."""


@dataclass(frozen=True)
class TopTokens:
    """A teacher's answer at S positions: its K most probable tokens, softened by the temperature, and what is left."""

    ids: Tensor  # [S, K] int64, different within a row
    log_probabilities: Tensor  # [S, K] fp32
    log_rest: Tensor  # [S] fp32: the log of the mass of all tokens that are not in `ids`

    def __len__(self) -> int:
        """How many positions."""
        return len(self.ids)

    def __getitem__(self, rows: slice) -> TopTokens:
        """Return those of some positions."""
        return TopTokens(self.ids[rows], self.log_probabilities[rows], self.log_rest[rows])

    def to(self, device: torch.device) -> TopTokens:
        """Return the same on `device`."""
        return TopTokens(self.ids.to(device), self.log_probabilities.to(device), self.log_rest.to(device))


@dataclass(frozen=True)
class Mixture:
    """How the two parts of the loss are mixed and measured; see the module's docstring."""

    alpha: float
    temperature: float
    divergence: Divergence
    beta: float = 0.5
    label_smoothing: float = 0.0


def linear_distillation(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    teacher: TopTokens,
    mixture: Mixture,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> Tensor:
    """Return the loss summed over the rows of `hidden` [S, H], a scalar in fp32; it has one backward.

    `targets` [S] and `teacher.ids` are classes of `weight` [V, H]. Logits and dtypes are those of
    `linear_cross_entropy`.
    """

    def piece_loss(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        return _distillation_with_gradient(logits, targets[rows], teacher[rows], mixture)

    return summed_by_piece(hidden, weight, bias, Cap(scale, softcap), piece_loss)


def _distillation_with_gradient(
    logits: Tensor, targets: Tensor, teacher: TopTokens, mixture: Mixture
) -> tuple[Tensor, Tensor]:
    """Return the piece's summed loss and its gradient for the logits, both in fp32."""
    loss, gradient = torch.zeros((), device=logits.device), None
    if mixture.alpha < 1:
        loss, gradient = cross_entropy_with_gradient(logits, targets, mixture.label_smoothing)
        loss, gradient = loss * (1 - mixture.alpha), gradient.mul_(1 - mixture.alpha)
    if mixture.alpha > 0:
        matched, pull = _divergence_with_gradient(logits, teacher, mixture)
        loss = loss + mixture.alpha * mixture.temperature**2 * matched
        # the softened logits are the logits / T, so one T of the two goes
        pull.mul_(mixture.alpha * mixture.temperature)
        gradient = pull if gradient is None else gradient.add_(pull)
    assert gradient is not None, "one of the two parts counts"
    return loss, gradient


def _divergence_with_gradient(logits: Tensor, teacher: TopTokens, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """Return the summed divergence at temperature T and its gradient for the softened logits [C, V]."""
    log_p = torch.log_softmax(logits / mixture.temperature, -1)
    top_log_p = log_p.gather(1, teacher.ids)
    gradient = log_p.exp_()
    top_p = top_log_p.exp()
    # not 1 - sum of the others, which for a sure student is rounding noise
    rest_p = gradient.scatter_(1, teacher.ids, 0.0).sum(-1, keepdim=True)
    p = torch.cat([top_p, rest_p], 1)
    log_student = torch.cat([top_log_p, rest_p.log()], 1).clamp_min(LEAST_LOG)
    log_teacher = torch.cat([teacher.log_probabilities, teacher.log_rest[:, None]], 1).clamp_min(LEAST_LOG)
    loss, by_outcome = _by_outcome(log_teacher, log_student, p, mixture)
    whole = by_outcome.sum(-1, keepdim=True)
    share_of_rest = by_outcome[:, -1:] / rest_p.clamp_min(torch.finfo(torch.float32).tiny)
    gradient.mul_(share_of_rest - whole)
    gradient.scatter_(1, teacher.ids, by_outcome[:, :-1] - top_p * whole)
    return loss, gradient


def _by_outcome(log_teacher: Tensor, log_student: Tensor, p: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
    """Return the summed divergence over outcomes [C, K + 1] and its derivative for each log p."""
    q = log_teacher.exp()
    if mixture.divergence == "forward_kl":
        return (q * (log_teacher - log_student)).sum(), -q
    if mixture.divergence == "reverse_kl":
        excess = log_student - log_teacher
        return (p * excess).sum(), p * (excess + 1)
    beta = mixture.beta
    log_middle = (beta * q + (1 - beta) * p).clamp_min(torch.finfo(torch.float32).tiny).log()
    excess = log_student - log_middle
    loss = beta * (q * (log_teacher - log_middle)).sum() + (1 - beta) * (p * excess).sum()
    return loss, (1 - beta) * p * excess


@torch.no_grad()
def top_tokens(
    hidden: Tensor,
    weight: Tensor,
    *,
    k: int,
    temperature: float,
    bias: Tensor | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> TopTokens:
    """Return the K most probable tokens for each row of `hidden` [S, H] at that temperature, a piece at a time."""
    parts = [
        top_of_logits(logits, k=k, temperature=temperature)
        for _, logits in logits_by_piece(hidden, weight, bias, Cap(scale, softcap))
    ]
    parts = parts or [top_of_logits(hidden.new_zeros((0, len(weight))), k=k, temperature=temperature)]
    return TopTokens(
        torch.cat([part.ids for part in parts]),
        torch.cat([part.log_probabilities for part in parts]),
        torch.cat([part.log_rest for part in parts]),
    )


@torch.no_grad()
def top_of_logits(logits: Tensor, *, k: int, temperature: float) -> TopTokens:
    """Return the K most probable tokens of logits [S, V] at that temperature."""
    log_p = torch.log_softmax(logits.float() / temperature, -1)
    top, ids = log_p.topk(k)
    rest = log_p.exp_().scatter_(1, ids, 0.0).sum(-1)
    return TopTokens(ids, top, rest.log().clamp_min(LEAST_LOG))


def distillation_of_logits(logits: Tensor, targets: Tensor, teacher: TopTokens, mixture: Mixture) -> Tensor:
    """Return the loss summed over the rows of logits [S, V], by torch's own gradient.

    The plain reference of `linear_distillation`, and what serves where a model makes its own logits or a task its
    classes.
    """
    loss = logits.new_zeros((), dtype=torch.float32)
    if mixture.alpha < 1:
        cross_entropy = functional.cross_entropy(
            logits.float(), targets, reduction="sum", label_smoothing=mixture.label_smoothing
        )
        loss = loss + (1 - mixture.alpha) * cross_entropy
    if mixture.alpha == 0:
        return loss
    log_p = torch.log_softmax(logits.float() / mixture.temperature, -1)
    log_student, log_teacher = log_p.gather(1, teacher.ids), teacher.log_probabilities
    if teacher.ids.shape[1] < logits.shape[1]:  # else nothing is left, and the gradient of its logarithm is no number
        log_rest = log_p.scatter(1, teacher.ids, -torch.inf).logsumexp(-1, keepdim=True)
        log_student = torch.cat([log_student, log_rest], 1)
        log_teacher = torch.cat([log_teacher, teacher.log_rest[:, None]], 1)
    log_student, log_teacher = log_student.clamp_min(LEAST_LOG), log_teacher.clamp_min(LEAST_LOG)
    if mixture.divergence == "forward_kl":
        divergence = _kl(log_teacher, log_student)
    elif mixture.divergence == "reverse_kl":
        divergence = _kl(log_student, log_teacher)
    else:
        beta = torch.tensor(mixture.beta)
        middle = torch.logaddexp(log_teacher + beta.log(), log_student + (1 - beta).log())
        divergence = beta * _kl(log_teacher, middle) + (1 - beta) * _kl(log_student, middle)
    return loss + mixture.alpha * mixture.temperature**2 * divergence


def _kl(log_first: Tensor, log_second: Tensor) -> Tensor:
    return (log_first.exp() * (log_first - log_second)).sum()
