"""How a stage is trained: the one loop.

A window is the rows of one update. Its losses are sums; each is divided by the weight of the whole window, known
before the first backward pass, so however the window is cut into micro-batches, and over however many processes
(`ranks`) they are dealt out, the update is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch

from tenfold.engine.checkpoint import CheckpointFolder, Position, restore_random
from tenfold.engine.ends import interrupted, out_of_memory_for_good, smaller_micro_batches
from tenfold.engine.log import Log
from tenfold.engine.memory import out_of_memory_named
from tenfold.engine.optim import rate_factor, restore_optimizer, set_rates
from tenfold.engine.ranks import ALONE, Ranks, own_random
from tenfold.engine.stage import Selection, Stage, StageResult
from tenfold.engine.training import Training, load_parameters
from tenfold.engine.update import Step, update_once
from tenfold.models.memory import is_out_of_memory
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
            if stage.optim.in_backward or model.shards is not None:
                if not is_out_of_memory(error):
                    raise
                raise out_of_memory_for_good(training.position.update, in_backward=stage.optim.in_backward) from error
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
            checkpoints.save(training.checkpoint(model, stage, ranks), ranks)
            saved_at = time.perf_counter()
        if is_stopping and training.position.update < stage.total_updates:
            raise interrupted(training.position.update)
    if training.best is not None:
        load_parameters(training.parameters, training.best)
    model.eval()
    return training.result(stage)


def _begin(model: Trunk, stage: Stage, log: Log, checkpoints: CheckpointFolder, ranks: Ranks) -> Training:
    training = Training.begin(model, stage, ranks)
    checkpoint, notes = ranks.first(checkpoints.newest)
    log.rewind(stage.name, checkpoint.position.update if checkpoint else 0)
    for note in notes:
        log.write("note", stage=stage.name, text=note)
    if checkpoint is None:
        log.write("stage", stage=stage.name, updates=stage.total_updates, resumed_at=0)
        return training
    if checkpoint.parts is None:
        load_parameters(training.parameters, checkpoint.trainable)
        restore_optimizer(training.optimizer, training.parameters, checkpoint.optimizer)
        training.best = checkpoint.best
    else:
        training.restore_parts(checkpoint.parts)
    stage.tuner.restore(model.network, checkpoint.tuner)
    restore_random(own_random(checkpoint.random, ranks.number), model.device)
    training.position = checkpoint.position
    training.windows = training.windows.with_micro_batch_tokens(checkpoint.position.micro_batch_tokens)
    log.write("stage", stage=stage.name, updates=stage.total_updates, resumed_at=training.position.update)
    return training


def _select(model: Trunk, stage: Stage, selection: Selection, training: Training, log: Log, ranks: Ranks) -> None:
    started = time.perf_counter()
    model.eval()
    with out_of_memory_named("evaluation on validation rows"):
        if model.shards is None:
            judged = ranks.first(selection.judge)
        else:
            mine = model.gathered(selection.judge)
            judged = ranks.first(lambda: mine)
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
