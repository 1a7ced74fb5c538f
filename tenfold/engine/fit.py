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
from pathlib import Path

import torch
from torch import Tensor, nn

from tenfold.data.batch import Batch, Window
from tenfold.data.windows import WindowSource
from tenfold.engine.checkpoint import Checkpoint, CheckpointFolder, Position, random_state, restore_random
from tenfold.engine.ends import interrupted, not_finite, out_of_memory_in_lockstep, smaller_micro_batches
from tenfold.engine.log import Log
from tenfold.engine.memory import out_of_memory_named
from tenfold.engine.optim import make_optimizer, optimizer_tensors, rate_factor, restore_optimizer, set_rates
from tenfold.engine.parts import read_parts, sizes_in
from tenfold.engine.ranks import ALONE, Ranks, all_random, own_random
from tenfold.engine.stage import Selection, Stage, StageResult
from tenfold.models.sharding import is_sharded, own_part, sum_of_squares
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
            if model.shards is not None:
                raise out_of_memory_in_lockstep(training.position.update, error) from error
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
        """Return the state before the first update."""
        optimizer = make_optimizer(stage, model)
        windows = stage.windows if ranks.count == 1 else stage.windows.over_ranks(ranks.count)
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

    def restore_parts(self, folder: Path) -> None:
        """Put back weights, optimizer state and the best weights from the parts in `folder`, of each what is here."""
        sizes = sizes_in(folder)
        found = {f"trainable|{name}": parameter.detach() for name, parameter in self.parameters.items()}
        for key, (size, dtype) in sizes.items():
            kind, _, rest = key.partition("|")
            name, _, state = rest.rpartition("|")
            if kind == "optimizer":
                parameter = self.parameters[name]
                is_alike = size == parameter.shape
                empty = torch.empty_like(parameter, dtype=dtype) if is_alike else torch.empty(size, dtype=dtype)
                found[key] = self.optimizer.state[parameter][state] = empty.detach()
        if any(key.startswith("best|") for key in sizes):
            self.best = {name: torch.empty_like(parameter) for name, parameter in self.parameters.items()}
            found |= {f"best|{name}": value for name, value in self.best.items()}
        read_parts(folder, found)

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


def update_once(model: Trunk, stage: Stage, window: Window, training: Training, ranks: Ranks = ALONE) -> Step:
    """Make one optimizer update from `window`; on a non-finite loss or gradient nothing has moved."""
    training.optimizer.zero_grad(set_to_none=True)
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


def load_parameters(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Copy `values` into the parameters of the same names."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(own_part(values[name], parameter))
