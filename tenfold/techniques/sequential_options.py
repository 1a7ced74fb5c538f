"""The settings of sequential tuning, as a recipe writes them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tenfold.recipe.tuners import Tuner
from tenfold.techniques.technique import Options

Cure = Literal["replay", "ewc", "l2_sp", "self_distillation"]


class StageOptions(Options):
    """Settings of one stage; what is unset is the recipe's."""

    task: Annotated[str, Field(min_length=1)]
    """The task of `data.tasks` that it trains."""
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$", max_length=64)] | None = None
    """What it is called; the task's name when unset. Needed where two stages train one task."""
    epochs: Annotated[float, Field(gt=0.0, le=1000.0)] | None = None
    updates: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many updates, however many epochs that is."""
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] | None = None
    """Peak rate; when unset, that of `optim`, or with a tuner of its own that tuner's default."""
    tuner: Annotated[Tuner, Field(discriminator="kind")] | None = None
    """Another tuner from here on; what the one before trained is merged into the base."""

    @property
    def stage_name(self) -> str:
        """Its name in the scorecard."""
        return self.name or self.task


class SequentialOptions(Options):
    """Settings of sequential tuning. All cures are off unless set; they act from the second stage on."""

    stages: tuple[StageOptions, ...] = ()
    """In the order of training."""
    replay: float = Field(default=0.0, ge=0.0, le=0.9)
    """Share of the rows that are earlier tasks' (evenly); the stage's own rows are met as often as without."""
    ewc: float = Field(default=0.0, ge=0.0)
    """Strength of elastic weight consolidation, in the scale of the loss per token."""
    fisher_rows: int = Field(default=128, ge=1)
    """Rows of a finished stage from which EWC estimates what mattered there."""
    l2_sp: float = Field(default=0.0, ge=0.0)
    """Strength of the pull towards what trains had at the stage's beginning."""
    self_distillation: float = Field(default=0.0, ge=0.0)
    """Weight of the divergence from the model before the stage, on the stage's own rows."""
    distillation_temperature: float = Field(default=2.0, gt=0.0, le=100.0)
    """The paper's 2 (section 3)."""
    compare_cures: bool = False
    """Also train the stages after the first without any cure and, of several cures, with each alone."""
    compare_straight: bool = False
    """Also train the last stage's task from the base model, without the stages before."""

    @property
    def cures(self) -> tuple[Cure, ...]:
        """The cures that are on."""
        strengths: dict[Cure, float] = {
            "replay": self.replay,
            "ewc": self.ewc,
            "l2_sp": self.l2_sp,
            "self_distillation": self.self_distillation,
        }
        return tuple(cure for cure, strength in strengths.items() if strength > 0)

    @property
    def compared(self) -> dict[str, tuple[Cure, ...]]:
        """The sets of cures that the stages are also trained with, by what marks their names."""
        if not self.compare_cures:
            return {}
        alone: dict[str, tuple[Cure, ...]] = {cure: (cure,) for cure in self.cures} if len(self.cures) > 1 else {}
        return {"none": (), **alone}
