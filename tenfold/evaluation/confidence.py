"""How far may a probability be trusted? Temperature scaling, and what is gained and lost by each threshold.

Shape letters: N rows, C labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

THRESHOLDS = tuple(step / 20 for step in range(1, 20))
_END = math.log(50)
"""How far from 1 a temperature is looked for, as a logarithm."""
_GOLDEN = (math.sqrt(5) - 1) / 2


def best_temperature(logits: Tensor, wanted: Tensor) -> float:
    """Return the temperature by which [N, C] `logits` must be divided so that the `wanted` labels are most likely.

    `wanted` is [N] int64 classes, or [N, C] of 0 and 1 where labels are told one by one. The loss is convex in the
    inverse temperature; golden sections find its minimum between 1/50 and 50.

    Source: Guo et al. 2017 (arXiv 1706.04599), section 4.2, on rows that trained nothing.
    """
    logits = logits.double()

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        if wanted.dtype == torch.int64:
            return float(functional.cross_entropy(scaled, wanted))
        return float(functional.binary_cross_entropy_with_logits(scaled, wanted.double()))

    return math.exp(_minimum(loss, -_END, _END))


def is_at_end(temperature: float) -> bool:
    """Whether `best_temperature` found no minimum inside its range: the loss still falls at the end of it."""
    return abs(math.log(temperature)) > _END - 1e-3


def _minimum(function: Callable[[float], float], low: float, high: float) -> float:
    """Return where `function`, which falls and then rises, is least, to four decimals (Kiefer 1953)."""
    while high - low > 1e-4:
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if function(left) <= function(right):
            high = right
        else:
            low = left
    return (low + high) / 2


@dataclass(frozen=True)
class AtThreshold:
    """What answers with at least the probability `threshold` are worth, over all labels together."""

    threshold: float
    precision: float
    recall: float
    f1: float


def at_thresholds(probabilities: Sequence[Sequence[float]], wanted: Sequence[Sequence[float]]) -> list[AtThreshold]:
    """Return precision, recall and F1 by threshold, labels told one by one; precision of no answer at all is 1."""
    pairs = [(p, right) for row in zip(probabilities, wanted, strict=True) for p, right in zip(*row, strict=True)]
    total = sum(right for _, right in pairs)
    table = []
    for threshold in THRESHOLDS:
        answered = [right for p, right in pairs if p >= threshold]
        found = sum(answered)
        precision = found / len(answered) if answered else 1.0
        recall = found / total if total else 0.0
        f1 = 2 * found / (len(answered) + total) if answered or total else 0.0
        table.append(AtThreshold(threshold, precision, recall, f1))
    return table


def best_threshold(table: Sequence[AtThreshold]) -> AtThreshold:
    """Return the threshold of highest F1, of several the one nearest to one half."""
    return max(table, key=lambda each: (each.f1, -abs(each.threshold - 0.5)))
