"""What a technique is: a generator of stages with its options, its own checks, and the claims its literature makes.

An eleventh technique is one file that ends in `TECHNIQUE = Technique(...)`, used as `kind: my_module:TECHNIQUE`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from tenfold.errors import Problem, RecipeError, nearest
from tenfold.recipe import Recipe, TechniqueSection
from tenfold.recipe.problems import explained
from tenfold.techniques.sharded import sharding_problems

if TYPE_CHECKING:
    from tenfold.engine.stage import Fit, Stage, StageResult
    from tenfold.evaluation.cost import Cost
    from tenfold.evaluation.lineage import Lineage
    from tenfold.evaluation.scorecard import Change, Score, Scorecard
    from tenfold.tasks.task import Task
    from tenfold.techniques.context import Run
    from tenfold.techniques.start import Start
    from tenfold.techniques.world import World

BUILTIN: Mapping[str, str] = {
    "instruction": "tenfold.techniques.instruction:TECHNIQUE",
    "parameter_efficient": "tenfold.techniques.parameter_efficient:TECHNIQUE",
    "task_specific": "tenfold.techniques.task_specific:TECHNIQUE",
    "transfer": "tenfold.techniques.transfer:TECHNIQUE",
    "multi_task": "tenfold.techniques.multi_task:TECHNIQUE",
    "sequential": "tenfold.techniques.sequential:TECHNIQUE",
    "feature_based": "tenfold.techniques.feature_based:TECHNIQUE",
    "adapters": "tenfold.techniques.adapters:TECHNIQUE",
    "cross_lingual": "tenfold.techniques.cross_lingual:TECHNIQUE",
    "distillation": "tenfold.techniques.distillation:TECHNIQUE",
}


class Options(BaseModel):
    """A technique's own settings; subclass it with fields. Frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    in_search: ClassVar[Mapping[str, Any]] = {}
    """What is set where a run only tries a learning rate: measurements that cost time and say nothing of the rate."""


@dataclass(frozen=True)
class Evidence:
    """What a run measured, for its claims to be judged by."""

    scorecard: Scorecard
    cost: Cost
    lineage: Lineage
    reported: Mapping[str, Any] = field(default_factory=dict)
    """What the technique found worth telling, as the artifact keeps it."""
    timings: Scorecard | None = None
    """What was timed, if anything was."""
    without_retention: str = ""
    """Why general text was not measured; empty where it was."""


@dataclass(frozen=True)
class Verdict:
    """How a claim came out, and the figure that says so."""

    outcome: Literal["held", "not held here", "unclear"]
    because: str

    @classmethod
    def on(cls, change: Change | None, figure: str | None = None) -> Verdict:
        """Return the verdict on a claim that `change` is for the better; `figure` tells more than the change itself."""
        if change is None:
            return cls("unclear", "no held-out rows to measure it on")
        outcome: Literal["held", "not held here"] = "held" if change.is_better else "not held here"
        return cls(outcome if change.is_better or change.is_worse else "unclear", figure or change.figure)


NOT_JUDGED = "could not be judged, which is a fault of the technique"
"""What is said of a claim whose judge failed."""


@dataclass(frozen=True)
class Claim:
    """An advantage that the literature promises, and how a run's evidence decides it."""

    text: str
    source: str
    judge: Callable[[Evidence], Verdict]

    def verdict(self, evidence: Evidence) -> Verdict:
        """Return what `judge` says; one that fails must not cost the run that it judges."""
        try:
            return self.judge(evidence)
        except Exception as error:  # whatever it is: what was trained is not saved yet
            return Verdict("unclear", f"{NOT_JUDGED}: {type(error).__name__}: {error}")


def no_problems(recipe: Recipe, options: Any) -> list[Problem]:
    """Return no problems: the check of a technique that fits every recipe."""
    return []


def no_objection(world: World, options: Any) -> None:
    """Do nothing: any rows and any model will do."""


def as_it_came(run: Run, options: Any) -> None:
    """Do nothing: row 0 of the scorecard is the model as it came."""


def as_it_is(recipe: Recipe, options: Any) -> Recipe:
    """Return `recipe`: of a technique that takes the tasks as the recipe names them."""
    return recipe


@dataclass(frozen=True)
class Plan:
    """What a technique will train, as far as that is known before anything is: for `tenfold check`."""

    stages: tuple[Stage, ...]
    """In the order of training; of the penalties and losses only what needs no trained model."""
    notes: tuple[str, ...] = ()
    """What is worth knowing before it begins, a line each."""
    compared: tuple[Callable[[Task], Score], ...] = ()
    """What a run scores beside its stages, on the rows of the task it is given: to be timed on a few of them."""
    held_bytes: int = 0
    """Weights that stay in memory beside the model's while it trains, such as a teacher's, and are not in `tried`."""
    tried: int = 0
    """Which of the stages stands for all where memory and time are tried: the one that needs most."""


def first_stage(run: Run, options: Any) -> Plan:
    """Return the recipe's own stage, named as the technique: the plan of a technique that does not say more."""
    return Plan((run.stage(run.recipe.technique.kind),))


@dataclass(frozen=True)
class Technique:
    """One way to fine-tune. `stages(run, options)` yields stages (or fits) and is sent each one's result."""

    kind: str
    summary: str
    when: str
    stages: Callable[[Run, Any], Generator[Stage | Fit, StageResult, None]]
    options: type[Options] = Options
    claims: tuple[Claim, ...] = ()
    check: Callable[[Recipe, Any], list[Problem]] = no_problems
    meet: Callable[[World, Any], None] = no_objection
    """Raises what rows and model do not allow, before anything is written."""
    begin: Callable[[Run, Any], None] = as_it_came
    """Called before row 0 is scored, to set what answers then."""
    plan: Callable[[Run, Any], Plan] = first_stage
    start: Callable[[Recipe, Any], Start] | None = None
    """Gives the model to train, where that is not the recipe's as it is; raises what does not fit, before training."""

    alone: str = ""
    """Why it cannot be carried out by several processes together; empty where it can."""
    shards: bool = False
    """Whether weights may be sharded: it computes with the model by its stages and the run's scores alone."""

    def require_ranks(self, recipe: Recipe, count: int) -> None:
        """Check that so many processes can carry out `recipe` together.

        Raises:
            RecipeError: it is one for a single process.
        """
        if count > 1 and self.alone:
            found = f"{self.kind} in {count} processes: {self.alone}"
            raise RecipeError(Problem("torchrun", found, "one process", "give the command without torchrun"))
        if count > 1 and recipe.optim.in_backward:
            found = f"{count} processes add up their gradients before anything moves"
            remedy = "leave out optim.in_backward, or give the command without torchrun"
            raise RecipeError(Problem("optim.in_backward", found, "one process", remedy))

    def starting(self, recipe: Recipe, options: Options) -> Callable[[], Start] | None:
        """Return what gives the run's model, or None where it is the recipe's own."""
        return None if self.start is None else partial(self.start, recipe, options)

    expand: Callable[[Recipe, Any], Recipe] = as_it_is
    """Returns the recipe with its tasks written out, where they follow from the rows; may read rows, no weights."""

    def require_fit(self, recipe: Recipe) -> Options:
        """Return the recipe's options for this technique, once its own check has nothing to say against the recipe.

        Raises:
            RecipeError: unknown options, or settings that the technique cannot work with; all at once.
        """
        options = self.read_options(recipe.technique)
        problems = [*self.check(recipe, options), *sharding_problems(recipe, technique_shards=self.shards)]
        if problems:
            raise RecipeError(*problems)
        return options

    def read_options(self, section: TechniqueSection) -> Options:
        """Return the section's options, validated.

        Raises:
            RecipeError: an unknown option or a value out of range, all at once.
        """
        with explained(self.options, within="technique"):
            return self.options(**section.options)


def find_technique(kind: str) -> Technique:
    """Return the built-in technique of that name, or the one at `module:name`.

    Raises:
        RecipeError: there is none.
    """
    place = BUILTIN.get(kind, kind)
    module_name, colon, attribute = place.partition(":")
    if not colon:
        raise RecipeError(
            Problem(
                "technique.kind",
                f"unknown technique {kind!r}",
                allowed=", ".join(BUILTIN) + ", or my_module:MY_TECHNIQUE",
                remedy=nearest(kind, BUILTIN),
            )
        )
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # the module is the user's own: its code may raise anything
        found = f"cannot import {kind}: {type(error).__name__}: {error}"
        remedy = _import_remedy(error, module_name, attribute)
        raise RecipeError(Problem("technique.kind", found, "module:NAME", remedy)) from error
    if not isinstance(found, Technique):
        raise RecipeError(
            Problem("technique.kind", f"{kind} is a {type(found).__name__}", allowed="a tenfold Technique")
        )
    return found


def _import_remedy(error: Exception, module: str, attribute: str) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
        return f"name the folder that {error.name} lies in: PYTHONPATH=FOLDER tenfold ..."
    if isinstance(error, AttributeError) and error.name == attribute:
        return f"end the module with {attribute} = Technique(...), or name what it has"
    return f"mend the module: python -c 'import {module}' shows where it fails"
