"""How a stage is trained: the one loop.

A window is the rows of one update. Its losses are sums; each is divided by the weight of the whole window, known
before the first backward pass, so however the window is cut into micro-batches, and over however many processes
(`ranks`) they are dealt out, the update is the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from tenfold.data.batch import Window
from tenfold.data.windows import WindowSource
from tenfold.engine.checkpoint import Checkpoint, CheckpointFolder, Position, random_state, restore_random
from tenfold.engine.ends import (
    at_once,
    interrupted,
    not_finite,
    only_batch,
    out_of_memory_at_once,
    smaller_micro_batches,
)
from tenfold.engine.log import Log
from tenfold.engine.memory import out_of_memory_named
from tenfold.engine.optim import (
    allot_state,
    make_optimizer,
    optimizer_tensors,
    rate_factor,
    restore_optimizer,
    set_rates,
    stepping_in_backward,
)
from tenfold.engine.ranks import ALONE, Ranks, all_random, own_random
from tenfold.engine.stage import Selection, Stage, StageResult
from tenfold.models.trunk import Trunk

CHECKPOINT_SECONDS = 120.0
"""Longest time between checkpoints, however many updates apart the recipe sets them: what a crash can cost."""


def fit(
    model: Trunk,
    stage: Stage,
    *,
    log: Log,
    checkpoints: CheckpointFolder,
    checkpoint_every: int,
    stop_asked: Callable[[], bool] = lambda: False,
    ranks: Ranks = ALONE,
) -> StageResult:
    """Train `stage` on `model` in place, from its newest checkpoint if there is one; return what it came to.

    Raises:
        NonFiniteLoss: a loss or gradient is NaN or infinite; names the update and its rows.
        OutOfMemory: not even one row at a time fits.
        Interrupted: `stop_asked()` came true; the update was finished and a checkpoint written.
        DiskFull: a checkpoint could not be written.
        RankLost: another of the `ranks` ended.
    """
    training = _begin(model, stage, log, checkpoints, ranks)
    model.train()
    saved_at = time.perf_counter()
    while training.position.update < stage.total_updates and not _lost_patience(stage.selection, training.position):
        started = time.perf_counter()
        window = training.windows.window(training.position.update)
        set_rates(training.optimizer, rate_factor(training.position.update, stage.total_updates, stage.optim))
        try:
            step = update_once(model, stage, window, training, ranks)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            training.optimizer.zero_grad(set_to_none=True)
            if stage.optim.in_backward:  # some parameters have moved already
                raise out_of_memory_at_once(training.position.update, error) from error
            training.windows = smaller_micro_batches(training.windows, window, training.position.update, error, log)
            continue
        training.position = replace(
            training.position,
            update=training.position.update + 1,
            tokens=training.position.tokens + window.num_tokens,
            supervised_tokens=training.position.supervised_tokens + step.weight,
            seconds=training.position.seconds + time.perf_counter() - started,
            last_loss=step.loss,
            micro_batch_tokens=training.windows.micro_batch_tokens,
        )
        _report(log, stage, training, step)
        if stage.selection is not None and _is_due(stage.selection, training.position.update, stage.total_updates):
            _select(model, stage, stage.selection, training, log, ranks)
        is_stopping, is_due = ranks.on_any(stop_asked(), time.perf_counter() - saved_at > CHECKPOINT_SECONDS)
        if is_stopping or is_due or training.position.update % checkpoint_every == 0:
            state = training.checkpoint(model, stage, ranks)
            ranks.first(partial(checkpoints.save, state))
            saved_at = time.perf_counter()
        if is_stopping and training.position.update < stage.total_updates:
            raise interrupted(training.position.update)
    if training.best is not None:
        load_parameters(training.parameters, training.best)
    model.eval()
    return training.result(stage)


@dataclass
class Training:
    """What changes while a stage trains; everything in it goes into a checkpoint."""

    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    windows: WindowSource
    position: Position
    best: Mapping[str, Tensor] | None

    @classmethod
    def begin(cls, model: Trunk, stage: Stage, ranks: Ranks = ALONE) -> Training:
        """Return the state before the first update.

        Raises:
            RecipeError: `optim.in_backward` is asked for, and an update cannot be made by one backward pass.
        """
        optimizer = make_optimizer(stage, model)
        windows = stage.windows if ranks.count == 1 else stage.windows.over_ranks(ranks.count)
        if stage.optim.in_backward:
            windows = at_once(windows, ranks)
            allot_state(optimizer)
        return cls(stage.trainable(model), optimizer, windows, Position(), None)

    def checkpoint(self, model: Trunk, stage: Stage, ranks: Ranks) -> Checkpoint:
        """Return the state to save."""
        names: dict[Tensor, str] = {parameter: name for name, parameter in self.parameters.items()}
        return Checkpoint(
            position=self.position,
            trainable=self.parameters,
            optimizer=optimizer_tensors(self.optimizer, names),
            random=all_random(ranks.each(random_state(model.device))),
            tuner=stage.tuner.state(model.network),
            best=self.best,
        )

    def result(self, stage: Stage) -> StageResult:
        """Return what the stage came to."""
        return StageResult(
            name=stage.name,
            updates=self.position.update,
            tokens=self.position.tokens,
            supervised_tokens=self.position.supervised_tokens,
            seconds=self.position.seconds,
            final_loss=self.position.last_loss,
            best_value=self.position.best_value,
            best_update=self.position.best_update,
            selection_seconds=self.position.selection_seconds,
            micro_batch_tokens=self.windows.micro_batch_tokens,
        )


@dataclass(frozen=True)
class Step:
    """One update as it went."""

    loss: float
    weight: int
    gradient_norm: float
    rate: float


def _begin(model: Trunk, stage: Stage, log: Log, checkpoints: CheckpointFolder, ranks: Ranks) -> Training:
    training = Training.begin(model, stage, ranks)
    checkpoint, notes = ranks.first(checkpoints.newest)
    log.rewind(stage.name, checkpoint.position.update if checkpoint else 0)
    for note in notes:
        log.write("note", stage=stage.name, text=note)
    if checkpoint is None:
        log.write("stage", stage=stage.name, updates=stage.total_updates, resumed_at=0)
        return training
    load_parameters(training.parameters, checkpoint.trainable)
    restore_optimizer(training.optimizer, training.parameters, checkpoint.optimizer)
    stage.tuner.restore(model.network, checkpoint.tuner)
    restore_random(own_random(checkpoint.random, ranks.number), model.device)
    training.position, training.best = checkpoint.position, checkpoint.best
    training.windows = training.windows.with_micro_batch_tokens(checkpoint.position.micro_batch_tokens)
    log.write("stage", stage=stage.name, updates=stage.total_updates, resumed_at=training.position.update)
    return training


def update_once(model: Trunk, stage: Stage, window: Window, training: Training, ranks: Ranks = ALONE) -> Step:
    """Make one optimizer update from `window`; on a non-finite loss or gradient nothing has moved.

    With `optim.in_backward` that holds for the loss alone: a gradient is used as soon as it is there.
    """
    training.optimizer.zero_grad(set_to_none=True)
    if stage.optim.in_backward:
        return _update_in_backward(model, stage, window, training)
    weight = sum(stage.objective.weight(batch) for batch in window.batches)
    totals = []
    with ranks.in_step(training.position.update, weight):
        for batch in ranks.share(window):
            loss = stage.objective(model, batch)
            (loss.total / max(1, weight)).backward()
            totals.append(loss.total.detach())
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
    return float(nn.utils.clip_grad_norm_(parameters.values(), limit))


def _select(model: Trunk, stage: Stage, selection: Selection, training: Training, log: Log, ranks: Ranks) -> None:
    started = time.perf_counter()
    model.eval()
    with out_of_memory_named("evaluation on validation rows"):
        judged = ranks.first(selection.judge)
    model.train()
    position = replace(
        training.position,
        selection_seconds=training.position.selection_seconds + time.perf_counter() - started,
    )
    if judged.is_better_than(position.best_value):
        training.best = {name: parameter.detach().clone() for name, parameter in training.parameters.items()}
        training.position = replace(
            position, best_value=judged.value, best_update=position.update, evaluations_without_gain=0
        )
    else:
        training.position = replace(position, evaluations_without_gain=position.evaluations_without_gain + 1)
    log.write(
        "evaluation",
        stage=stage.name,
        update=position.update,
        metric=judged.metric,
        value=judged.value,
        best=training.position.best_value,
        best_update=training.position.best_update,
    )


def _is_due(selection: Selection, update: int, total_updates: int) -> bool:
    """Whether to measure after `update`: every so often, and at the end, or the last updates could never be best."""
    return update % selection.every == 0 or update == total_updates


def _lost_patience(selection: Selection | None, position: Position) -> bool:
    return (
        selection is not None
        and selection.patience is not None
        and position.evaluations_without_gain >= selection.patience
    )


def _report(log: Log, stage: Stage, training: Training, step: Step) -> None:
    position = training.position
    log.write(
        "update",
        stage=stage.name,
        update=position.update,
        loss=step.loss,
        learning_rate=step.rate,
        gradient_norm=step.gradient_norm,
        tokens=position.tokens,
        supervised_tokens=position.supervised_tokens,
        seconds=round(position.seconds, 3),
    )


def load_parameters(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Copy `values` into the parameters of the same names."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name])
