"""Sequential fine-tuning: one task after another, from general to specific, without losing the earlier ones.

Idea: each stage goes on from the one before; switches hold what was learned earlier: old rows among the new ones
(`replay`), a pull towards old values where they mattered (`ewc`) or everywhere (`l2_sp`), the earlier model's answers
as a second target (`self_distillation`).
Source: going from general to specific, Gururangan et al. 2020 (arXiv 2004.10964); replay, Rolnick et al. 2019 (arXiv
1811.11682); EWC, Kirkpatrick et al. 2017 (arXiv 1612.00796); L2-SP, Li et al. 2018 (arXiv 1802.01483);
self-distillation, Li & Hoiem 2016 (arXiv 1606.09282).
When: tasks come one after another, or a general one prepares for a specific one with few rows.
Costs: a stage a task, each scored on every task; EWC a backward pass over `fisher_rows` rows a stage and two copies of
what trains a stage; self-distillation one more forward pass an update; comparisons as many stages as `check` says.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tenfold.recipe.tuners import Tuner
from tenfold.techniques.claims import keeps_general_text
from tenfold.techniques.sequential_check import check
from tenfold.techniques.sequential_claims import cures_help, earlier_tasks_are_kept, the_way_helps
from tenfold.techniques.technique import Options, Plan, Technique

if TYPE_CHECKING:
    from tenfold.engine.stage import Stage, StageResult
    from tenfold.techniques.context import Run

Cure = Literal["replay", "ewc", "l2_sp", "self_distillation"]

CURES: tuple[Cure, ...] = ("replay", "ewc", "l2_sp", "self_distillation")
"""The switches against forgetting, by their names in a recipe."""


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

    stages: Annotated[tuple[StageOptions, ...], Field(min_length=1)]
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


def plan(run: Run, options: SequentialOptions) -> Plan:
    """Return the stages with what is known before anything is trained.

    Raises:
        UserError: a stage's tuner does not fit the model, or a cure does not fit a task.
    """
    from tenfold.techniques.course import Course

    course = Course(run, options)
    course.require_fit()
    stages = course.outline()
    notes = [f"task {task.name} is trained by no stage: it is only scored" for task in course.untrained]
    if options.cures and options.cures != ("replay",):
        notes.append("cures add to the time of an update; the estimate below is of the first stage's updates")
    extra = [stage for stage in stages if "@" in stage.name]
    if extra:
        updates = sum(stage.total_updates for stage in extra)
        notes.append(f"comparisons train {len(extra)} stages more, {updates} updates and {len(extra)} scorings")
    return Plan(tuple(stages), tuple(notes))


def sequential(run: Run, options: SequentialOptions) -> Generator[Stage, StageResult, None]:
    """Yield the first stage, then what is to be compared, then the stages that are kept, each from the one before."""
    from tenfold.techniques.course import Course

    course = Course(run, options)
    course.require_fit()
    if options.compare_straight:
        yield course.straight()
    yield course.first()
    course.remember(course.names[0], 0)
    for mark, cures in (*options.compared.items(), ("", options.cures)):
        yield from course.later(cures, mark=mark)


TECHNIQUE = Technique(
    kind="sequential",
    summary="one task after another, from general to specific, with cures against forgetting",
    when="tasks come one after another, or a general one prepares for a specific one with few rows",
    stages=sequential,
    options=SequentialOptions,
    check=check,
    plan=plan,
    claims=(
        earlier_tasks_are_kept(source="Kirkpatrick et al. 2017, arXiv 1612.00796; forgetting as in arXiv 1801.10112"),
        cures_help(
            source="replay: Rolnick et al. 2019, arXiv 1811.11682; EWC: Kirkpatrick et al. 2017, arXiv 1612.00796; "
            "L2-SP: Li et al. 2018, arXiv 1802.01483; self-distillation: Li & Hoiem 2016, arXiv 1606.09282"
        ),
        the_way_helps(source="Gururangan et al. 2020, arXiv 2004.10964"),
        keeps_general_text(source="Li & Hoiem 2016, arXiv 1606.09282, for the abilities that training is not about"),
    ),
)
