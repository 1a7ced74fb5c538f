"""One optimizer update: losses of a window added up, their gradients clipped, every parameter moved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
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
    weight = sum(stage.objective.weight(batch) for batch in window.batches)
    if stage.optim.in_backward:
        mean_loss, norm = _in_backward(model, stage, window, weight, training)
    else:
        mean_loss, norm = _after_backward(model, stage, window, weight, training, ranks)
    stage.tuner.after_update(model.network, training.position.update + 1, stage.total_updates)
    return Step(mean_loss, weight, norm, float(training.optimizer.param_groups[0]["lr"]))


def _after_backward(
    model: Trunk, stage: Stage, window: Window, weight: int, training: Training, ranks: Ranks
) -> tuple[float, float]:
    """Move all parameters once every gradient is there; return the mean loss and the gradient's length."""
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
        for amount in _penalties(model, stage) if ranks.is_first else ():
            amount.backward()
    mean_loss = ranks.add_up(training.parameters.values(), totals) / max(1, weight)
    norm = _clip(training.parameters, stage.optim.max_gradient_norm)
    if not math.isfinite(mean_loss) or not math.isfinite(norm):
        raise not_finite(stage, window, totals, training.position.update, ranks)
    training.optimizer.step()
    return mean_loss, norm


def _in_backward(model: Trunk, stage: Stage, window: Window, weight: int, training: Training) -> tuple[float, float]:
    """Move each parameter in the one backward pass; return the mean loss and the gradient's length."""
    total = stage.objective(model, only_batch(window)).total
    mean_loss = float(total.detach()) / max(1, weight)
    if not math.isfinite(mean_loss):
        raise not_finite(stage, window, [total.detach()], training.position.update, ALONE)
    with stepping_in_backward(training.optimizer, training.parameters) as lengths:
        sum(_penalties(model, stage), total / max(1, weight)).backward()
    norm = float(torch.stack([lengths[name] for name in training.parameters if name in lengths]).norm())
    if not math.isfinite(norm):
        raise not_finite(stage, window, [total.detach()], training.position.update, ALONE)
    return mean_loss, norm


def _penalties(model: Trunk, stage: Stage) -> Iterator[Tensor]:
    """Yield what is added to the loss for where the parameters are, each computed when it is asked for."""
    for penalty in (stage.tuner.penalty, *stage.penalties):
        amount = penalty(model.network)
        if amount is not None:
            yield amount


def _clip(parameters: Mapping[str, nn.Parameter], max_norm: float | None) -> float:
    """Scale all gradients down to `max_norm` together if they are longer; return their length before."""
    limit = math.inf if max_norm is None else max_norm
    if not any(is_sharded(parameter) for parameter in parameters.values()):
        return float(nn.utils.clip_grad_norm_(parameters.values(), limit))
    gradients = [parameter.grad for parameter in parameters.values() if parameter.grad is not None]
    norm = float(sum_of_squares(gradients).sqrt())
    if norm > limit:
        for gradient in gradients:
            gradient.mul_(limit / (norm + 1e-6))  # torch's own formula
    return norm
