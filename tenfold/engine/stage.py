"""What the engine trains: a stage is a plain value, and so is its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tenfold.data.windows import Windows
from tenfold.objectives.objective import Objective, Penalty
from tenfold.recipe import OptimSection
from tenfold.tuning.tuner import Tuner


@dataclass(frozen=True)
class Selection:
    """How the best checkpoint is chosen: `measure` is called every `every` updates; higher is better.

    With `patience`, training stops after that many measurements in a row without a better value.
    """

    measure: Callable[[], float]
    every: int
    patience: int | None = None


@dataclass(frozen=True)
class Stage:
    """One training: which parameters (`tuner`), which loss (`objective`), which rows (`windows`), for how long."""

    name: str
    tuner: Tuner
    objective: Objective
    windows: Windows
    optim: OptimSection
    learning_rate: float
    total_updates: int
    penalties: tuple[Penalty, ...] = ()
    selection: Selection | None = None
    gradient_checkpointing: bool = False

    @property
    def content(self) -> dict[str, object]:
        """Everything that decides what the stage comes to, for its fingerprint.

        An objective or penalty counts by its `repr`: a dataclass shows its settings. One that shows an address is
        never taken for another, so it trains again each time.
        """
        windows, selection = self.windows, self.selection
        return {
            "name": self.name,
            "tuner": self.tuner.settings.model_dump(),
            "objective": repr(self.objective),
            "windows": [
                windows.prepared.fingerprint,
                windows.batch_size,
                windows.micro_batch_tokens,
                windows.seed,
            ],
            "optim": self.optim.model_dump(),
            "learning_rate": self.learning_rate,
            "total_updates": self.total_updates,
            "penalties": [repr(penalty) for penalty in self.penalties],
            "selection": None if selection is None else [selection.every, selection.patience],
            "gradient_checkpointing": self.gradient_checkpointing,
        }


@dataclass(frozen=True)
class StageResult:
    """What a stage came to; `from_store` says that it was restored, not trained again."""

    name: str
    updates: int
    tokens: int
    supervised_tokens: int
    seconds: float
    final_loss: float
    best_value: float | None = None
    best_update: int | None = None
    micro_batch_tokens: int = 0
    peak_memory_bytes: int = 0
    from_store: bool = False
