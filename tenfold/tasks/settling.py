"""Which temperature and threshold suit a trained head, chosen on rows that trained nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tenfold.data.prepare import Prepared
from tenfold.evaluation.confidence import AtThreshold, at_thresholds, best_temperature, best_threshold
from tenfold.models.trunk import Trunk
from tenfold.tasks.classification import Classification
from tenfold.tasks.labels import LabelledItem
from tenfold.tasks.multi_label import MultiLabel


@dataclass(frozen=True)
class Settled:
    """How logits become answers, and what each threshold was worth on the rows that decided it."""

    temperature: float
    threshold: float
    table: tuple[AtThreshold, ...]
    best: AtThreshold


def settled_on(
    model: Trunk, kind: Classification | MultiLabel, rows: Prepared, *, with_temperature: bool, with_threshold: bool
) -> Settled:
    """Return temperature and threshold chosen on `rows`; those of the kind where they are not to be chosen."""
    items = [item for item in kind.items(rows, max_rows=len(rows), seed=0) if isinstance(item, LabelledItem)]
    logits = torch.stack(kind.logits(model, [item.input_ids for item in items])).double()
    labels = torch.tensor([item.labels for item in items], dtype=torch.float64)
    is_class = isinstance(kind, Classification)
    temperature = kind.temperature
    if with_temperature:
        temperature = best_temperature(logits, labels[:, 0].long() if is_class else labels)
    scaled = logits / temperature
    chances = (torch.softmax(scaled, dim=-1) if is_class else torch.sigmoid(scaled)).tolist()
    wanted = torch.nn.functional.one_hot(labels[:, 0].long(), logits.shape[1]) if is_class else labels
    table = at_thresholds(chances, wanted.double().tolist())
    best = best_threshold(table)
    return Settled(temperature, best.threshold if with_threshold else kind.threshold, tuple(table), best)
