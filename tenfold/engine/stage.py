"""What the engine trains: a stage is a plain value, and so is its result."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, Protocol

from torch import nn

from tenfold.data.windows import WindowSource
from tenfold.files import sha256_file
from tenfold.models.depth import decayed, find_depths
from tenfold.models.trunk import Reader, Trunk
from tenfold.objectives.objective import Objective, Penalty
from tenfold.recipe import OptimSection
from tenfold.tuning.tuner import Tuner


@dataclass(frozen=True)
class Judgement:
    """What a checkpoint came to: the value of a metric, and which way is up."""

    value: float
    metric: str = "score"
    higher_is_better: bool = True

    def is_better_than(self, best: float | None) -> bool:
        """Return whether the value is better than the `best` so far; the first one always is."""
        if best is None:
            return True
        return self.value > best if self.higher_is_better else self.value < best


@dataclass(frozen=True)
class Selection:
    """How the best checkpoint is chosen: `judge` says what the model comes to, every `every` updates.

    With `patience`, training stops after that many judgements in a row without a better value.
    """

    judge: Callable[[], Judgement]
    every: int
    patience: int | None = None
    content: object = None
    """All that decides what `judge` returns for given weights, as plain values."""


@dataclass(frozen=True)
class Learned:
    """Parameters of a loss itself, which train beside the tuner's: they are in checkpoints and in no saved model."""

    parameters: Mapping[str, nn.Parameter]
    learning_rate: float
    """Their own peak rate; weight decay leaves them alone."""

    @property
    def content(self) -> object:
        """All that decides how they train, as plain values."""
        digest = hashlib.sha256()
        for name, parameter in sorted(self.parameters.items()):
            digest.update(f"{name} {tuple(parameter.shape)}\n".encode())
            digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
        return [self.learning_rate, digest.hexdigest()]


@dataclass(frozen=True)
class Stage:
    """One training: which parameters (`tuner`), which loss (`objective`), which rows (`windows`), for how long."""

    name: str
    tuner: Tuner
    objective: Objective
    windows: WindowSource
    optim: OptimSection
    learning_rate: float
    total_updates: int
    penalties: tuple[Penalty, ...] = ()
    selection: Selection | None = None
    gradient_checkpointing: bool = False
    layer_decay: float = 1.0
    """The rate of each block as a share of that of the block above it."""
    learned: Learned | None = None
    """What the loss itself learns, if it learns anything."""
    tasks: tuple[str, ...] = ()
    """The tasks that it is there to teach; rows of others may be mixed in."""
    scored: tuple[str, ...] | None = None
    """The tasks that are scored after it; all, and what is kept of general text, when unset."""
    starts_from: str | None = None
    """The stage (or `before`, the model as it came) from which it goes on; the one before it when unset."""

    @property
    def content(self) -> dict[str, object]:
        """Everything that decides what the stage comes to, for its fingerprint.

        An objective, penalty or measure of selection counts by its `repr` and by the source file that defines it.
        """
        selection = self.selection
        return {
            "name": self.name,
            "tuner": [self.tuner.settings.model_dump(), self.tuner.starts_from, self.tuner.acting],
            "objective": _described(self.objective),
            "windows": self.windows.content,
            "optim": self.optim.model_dump(),
            "learning_rate": self.learning_rate,
            "total_updates": self.total_updates,
            "penalties": [_described(penalty) for penalty in self.penalties],
            "selection": None
            if selection is None
            else [selection.every, selection.patience, selection.content, _source(selection.judge)],
            "gradient_checkpointing": self.gradient_checkpointing,
            "layer_decay": self.layer_decay,
            "learned": None if self.learned is None else self.learned.content,
            "tasks": self.tasks,
            "starts_from": self.starts_from,
        }

    def trainable(self, model: Trunk) -> dict[str, nn.Parameter]:
        """Return what trains in `model` and in the loss, by name, always in the same order."""
        own = {} if self.learned is None else self.learned.parameters
        in_loss = {f"objective.{name}": parameter for name, parameter in own.items()}
        return {**self.tuner.trainable(model.network), **model.head_parameters(), **in_loss}

    def parameter_groups(self, model: Trunk) -> list[dict[str, Any]]:
        """Return the groups for a torch optimizer, each with `params` and its own `lr`: tuner's, heads', loss's."""
        groups = self.tuner.parameter_groups(model.network, self.learning_rate)
        if self.layer_decay < 1.0:
            groups = decayed(groups, find_depths(model.base), decay=self.layer_decay)
        opened = model.opened_head_parameters()
        known = {id(parameter) for parameter in opened}
        new = [parameter for parameter in model.head_parameters().values() if id(parameter) not in known]
        if new:
            groups.append({"params": new, "lr": self.optim.head_learning_rate})
        if opened:
            groups.append({"params": opened, "lr": self.learning_rate})
        if self.learned is not None:
            own = list(self.learned.parameters.values())
            groups.append({"params": own, "lr": self.learned.learning_rate, "weight_decay": 0.0})
        return groups

    @property
    def is_storable(self) -> bool:
        """Whether `content` tells this stage from any other: a `repr` that is only an address does not."""
        return " at 0x" not in str(self.content)


class Fit(Protocol):
    """A stage that is no training by gradients: it makes files once, and what they hold answers a task from then on."""

    @property
    def name(self) -> str:
        """The stage's name."""
        ...

    @property
    def task(self) -> str:
        """The task that it learns."""
        ...

    @property
    def content(self) -> dict[str, object]:
        """Everything that decides what it comes to, beside the model, as plain values."""
        ...

    def make(self, folder: Path) -> StageResult:
        """Write what was learned into `folder` and return what it took."""
        ...

    def reader(self, folder: Path) -> Reader:
        """Return what answers the task from now on, read from the folder that `make` filled."""
        ...


@dataclass(frozen=True)
class StageResult:
    """What a stage came to; `from_store` says that it was restored, not trained again."""

    name: str
    updates: int
    tokens: int
    supervised_tokens: int
    seconds: float
    final_loss: float = math.nan
    """The mean loss of the last update, whichever update's parameters were the best; not a number without updates."""
    best_value: float | None = None
    best_update: int | None = None
    micro_batch_tokens: int = 0
    peak_memory_bytes: int = 0
    selection_seconds: float = 0.0
    from_store: bool = False
    is_fit: bool = False
    """Whether an estimator was fitted, and no parameter trained."""


def _described(part: Objective | Penalty) -> list[str]:
    name = part.__qualname__ if isinstance(part, FunctionType) else repr(part)
    return [name, _source(part)]


def _source(part: object) -> str:
    """Return the hash of the source file that defines `part`, a function or an object of a class, if one does."""
    try:
        path = inspect.getsourcefile(part if isinstance(part, FunctionType) else type(part))
    except TypeError:  # built in
        return ""
    return "" if path is None or not Path(path).is_file() else sha256_file(Path(path))
