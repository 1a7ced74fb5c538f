"""One optimizer update: losses of a window added up, their gradients clipped, every parameter moved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tenfold.data.batch import Batch, Window
from tenfold.engine.ends import not_finite, only_batch
from tenfold.engine.optim import stepping_in_backward
from tenfold.engine.ranks import ALONE, Ranks
from tenfold.engine.stage import Stage
from tenfold.engine.training import Training
from tenfold.models.sharding import is_sharded, sum_of_squares
from tenfold.models.trunk import Trunk


@dataclass(frozen=True)
class Step:
    """One update as it went."""

    loss: float
    weight: int
    gradient_norm: float
    rate: float


def update_once(model: Trunk, stage: Stage, window: Window, training: Training, ranks: Ranks = ALONE) -> Step:
    """Make one optimizer update from `window`; on a non-finite loss or gradient nothing has moved.

    With `optim.in_backward` that holds for the loss alone: a gradient is used as soon as it is there.
    """
    training.optimizer.zero_grad(set_to_none=True)
    if stage.optim.in_backward:
        return _update_in_backward(model, stage, window, training)
    weight = sum(stage.objective.weight(batch) for batch in window.batches)
    totals = []

    def total_of(batch: Batch) -> Tensor:
        return model.gathered(lambda: stage.objective(model, batch).total)

    together = ranks.in_step if model.shards is None else ranks.in_lockstep
    with together(training.position.update, weight):
        for batch in ranks.share(window):
            total = total_of(batch)
            (total / max(1, weight)).backward()
            totals.append(total.detach())
        for batch in () if model.shards is None else ranks.fillers(window):
            (total_of(batch) * 0.0).backward()
        for penalty in (stage.tuner.penalty, *stage.penalties) if ranks.is_first else ():
            amount = penalty(model.network)
            if amount is not None:
                amount.backward()
    mean_loss = ranks.add_up(training.parameters.values(), totals) / max(1, weight)
    norm = _clip(training.parameters, stage.optim.max_gradient_norm)
    if not math.isfinite(mean_loss) or not math.isfinite(norm):
        raise not_finite(stage, window, totals, training.position.update, ranks)
    training.optimizer.step()
    stage.tuner.after_update(model.network, training.position.update + 1, stage.total_updates)
    return Step(mean_loss, weight, norm, float(training.optimizer.param_groups[0]["lr"]))


def _update_in_backward(model: Trunk, stage: Stage, window: Window, training: Training) -> Step:
    batch = only_batch(window)
    weight = stage.objective.weight(batch)
    loss = stage.objective(model, batch)
    found = [penalty(model.network) for penalty in (stage.tuner.penalty, *stage.penalties)]
    mean_loss = float(loss.total.detach()) / max(1, weight)
    if not math.isfinite(mean_loss):
        raise not_finite(stage, window, [loss.total.detach()], training.position.update, ALONE)
    with stepping_in_backward(training.optimizer, training.parameters) as lengths:
        sum((amount for amount in found if amount is not None), loss.total / max(1, weight)).backward()
    norm = float(torch.stack([lengths[name] for name in training.parameters if name in lengths]).norm())
    if not math.isfinite(norm):
        raise not_finite(stage, window, [loss.total.detach()], training.position.update, ALONE)
    stage.tuner.after_update(model.network, training.position.update + 1, stage.total_updates)
    return Step(mean_loss, weight, norm, float(training.optimizer.param_groups[0]["lr"]))


def _clip(parameters: Mapping[str, nn.Parameter], max_norm: float | None) -> float:
    """Scale all gradients down to `max_norm` together if they are longer; return their length before."""
    limit = math.inf if max_norm is None else max_norm
    if not any(is_sharded(parameter) for parameter in parameters.values()):
        return float(nn.utils.clip_grad_norm_(parameters.values(), limit))
    gradients = [parameter.grad for parameter in parameters.values() if parameter.grad is not None]
    norm = float(sum_of_squares(gradients).sqrt())
    if norm > limit:
        for gradient in gradients:
            gradient.mul_(limit / norm)
    return norm
