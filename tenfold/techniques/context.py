"""What a technique is given: a run that opens the model, makes stages, trains, scores and remembers."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import torch

from tenfold.data.windows import MICRO_BATCH_TOKENS
from tenfold.engine.checkpoint import CheckpointFolder
from tenfold.engine.fit import fit
from tenfold.engine.log import Log
from tenfold.engine.runtime import Runtime, derived_seed
from tenfold.engine.stage import Selection, Stage, StageResult
from tenfold.engine.store import StoredStage, fingerprint, store_stage, stored_stage
from tenfold.evaluation.cost import PeakMemory
from tenfold.evaluation.lineage import Lineage
from tenfold.evaluation.retention import RetentionSet
from tenfold.evaluation.score import score_retention
from tenfold.evaluation.scorecard import RETENTION, Score, Scorecard
from tenfold.models.architecture import Family
from tenfold.models.language_model import LanguageModel
from tenfold.models.sharding import whole_on_first
from tenfold.models.trunk import Reader, Trunk
from tenfold.recipe import Recipe
from tenfold.tasks.task import Task
from tenfold.techniques.budget import in_budget, shared_out
from tenfold.techniques.ledger import Ledger
from tenfold.techniques.measured import measured_once
from tenfold.techniques.selection import selection_by
from tenfold.techniques.subject import Subject
from tenfold.techniques.world import World
from tenfold.tuning.acting import Acting, acting_in
from tenfold.tuning.composition import Composition
from tenfold.tuning.tuner import Tuner, make_tuner

ADAPTER_TOKENS_ON_CPU = 2048
"""Tokens of an adapter's micro-batch on a CPU where the recipe names none: the usual update in one piece, and half of
what weights that all train take, whose gradients are added up once for each piece."""


class Run(Ledger):
    """One run of a recipe: the context a technique reads, and what `run()` drives.

    Every technique asks for its stages by `stage`. Those that need more have `selection` and `attach` for a stage's
    parts, `let_adapters_answer` and `answer_with` for what answers a task, `measure`, `score_with`, `score_other` and
    `state` for scores of their own, and what `Ledger` keeps: `record`, `report`, `keep_timings`, `take_over`, `spend`,
    `save_merged`. `train`, `score`, `keep_to_budget`, `keep_result` and `keep_fit` are the driver's, and those of a
    technique only on a `Run` that it opened itself, on a model beside this one.
    """

    def __init__(
        self,
        world: World,
        *,
        folder: Path,
        runtime: Runtime,
        log: Log,
        stop_asked: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__()
        self.world = world
        self.recipe = world.recipe
        self.folder = folder
        self.runtime = runtime
        self.log = log
        self.stop_asked = stop_asked
        self.subject = Subject(world, runtime)
        self._answered_by: tuple[str, ...] = ()
        self.budget: Mapping[str, int] = {}
        """Updates of each stage, where they share a total."""
        self.adapters_of: dict[str, Composition | None] = {}
        """Which of the model's adapters answer each task; what acts anyway where unset."""

    @property
    def model(self) -> Trunk:
        """The model with a head for each task that asks for one; untouched until the first stage is attached."""
        return self.subject.model

    @property
    def tuner(self) -> Tuner:
        """What trains now: the recipe's tuner, or that of the last stage."""
        return self.subject.tuner

    @property
    def is_rebased(self) -> bool:
        """Whether only a whole model says it all: its base was changed, or the recipe's tuner cannot open it."""
        return self.subject.is_rebased or type(self.tuner).load is not type(make_tuner(self.recipe.tuner)).load

    @property
    def lineage(self) -> Lineage:
        """The stages trained so far, and which of them made the model as it is now."""
        return Lineage(self.subject.ancestors(self.subject.finished), self.subject.chain)

    @property
    def tasks(self) -> list[Task]:
        """The recipe's tasks, in its order."""
        return list(self.world.tasks.values())

    def stage(self, name: str, task: Task | None = None) -> Stage:
        """Return the stage that the recipe describes for `task` (the first one when unset).

        It has the recipe's tuner and, from the task, its loss, rows, length and selection.
        """
        task = task or self.world.first
        optim = self.recipe.optim
        assert optim.learning_rate is not None, "the resolved recipe has a learning rate"
        return Stage(
            name=name,
            tuner=self.tuner,
            objective=task.objective(self.recipe),
            windows=task.windows,
            optim=optim,
            learning_rate=optim.learning_rate,
            total_updates=task.windows.total_updates(optim.epochs, optim.max_updates),
            selection=self.selection([task]),
            gradient_checkpointing=self.recipe.runtime.gradient_checkpointing,
            tasks=(task.name,),
        )

    def selection(self, tasks: list[Task]) -> Selection | None:
        """Return how the best checkpoint is chosen: by the mean of the tasks' own metrics on validation rows."""
        # weakly: the subject keeps its stages, and a circle would keep the model until Python's collector comes by
        subject = weakref.proxy(self.subject)
        return selection_by(tasks, lambda: subject.model, self.recipe.evaluation, seed=self.runtime.seed)

    @property
    def resolved_recipe(self) -> Recipe:
        """The recipe with every `auto` replaced by what it became."""
        given = self.recipe.runtime.micro_batch_tokens or MICRO_BATCH_TOKENS
        tokens = self._open_micro_batch_tokens(self.tuner) or given
        chosen = self.runtime.chosen | ({} if self.recipe.optim.in_backward else {"micro_batch_tokens": tokens})
        runtime = self.recipe.runtime.model_copy(update=chosen)
        return self.recipe.model_copy(update={"runtime": runtime})

    def keep_to_budget(self, stages: Sequence[Stage]) -> tuple[Stage, ...]:
        """Return the `stages` to come with their shares of `optim.total_updates`; raises as `shared_out`."""
        self.budget = shared_out(self.recipe.optim.total_updates, stages)
        return tuple(in_budget(stage, self.budget) for stage in stages)

    def let_adapters_answer(self, task: str, composition: Composition | None) -> None:
        """Let `composition` of the model's adapters act whenever `task` is scored from here on, and in the artifact."""
        self.adapters_of[task] = composition

    def score_with(self, task: Task, stage: str, acting: Acting) -> Score:
        """Return the score of `task` by the adapters `acting`, without recording it; raises as `measure`."""
        key = fingerprint(self.state, task.judged_by, {"acting": acting.content})
        return self._measured(stage, task.name, key, task.score, acting=acting)

    @property
    def state(self) -> str:
        """The hash of all that makes the model answer as it does now."""
        return fingerprint(self.subject.key, *self._answered_by) if self._answered_by else self.subject.key

    def answer_with(self, task: str, reader: Reader, *, key: str) -> None:
        """Let `reader`, which `key` tells from any other, answer `task` from now on in place of a head."""
        self.subject.readers[task] = reader
        self._answered_by = (*self._answered_by, task, key)

    def attach(self, stage: Stage) -> Stage:
        """Bring the model to where `stage` begins and let its tuner take hold; all else is frozen from here on.

        A stage that starts from an earlier one finds the model as that one left it. A tuner that comes after another
        sits on the base with all that was trained before merged into it. `train` does this by itself; a technique does
        so where a loss depends on where the stage begins. Return the stage with micro-batches as the route needs them.

        Raises:
            ModelError: what the tuner before has trained cannot be merged into the base.
        """
        stage = self.subject.attach(in_budget(stage, self.budget))
        tokens = self._open_micro_batch_tokens(stage.tuner)
        return stage if tokens is None else replace(stage, windows=stage.windows.with_micro_batch_tokens(tokens))

    def _open_micro_batch_tokens(self, tuner: Tuner) -> int | None:
        """Return how many tokens to take at once where the recipe leaves it open and the tables' own are too many."""
        is_open = self.recipe.runtime.micro_batch_tokens is None
        is_small = self.runtime.device.type == "cpu" and not tuner.trains_base_weights
        return ADAPTER_TOKENS_ON_CPU if is_open and is_small else None

    def train(self, stage: Stage) -> StageResult:
        """Restore `stage` from the store, or fit it and keep it there."""
        stage = self.attach(stage)
        key = fingerprint(self.subject.key, stage.content, {"seed": self.runtime.seed})
        ranks = self.runtime.ranks
        stored = ranks.first(partial(stored_stage, key))
        if stored is not None:
            self.subject.restore(stage, stored)
            result = replace(stored.result, from_store=True)
            self.log.write("stage_restored", stage=stage.name, updates=result.updates, seconds=result.seconds)
        else:
            result = self._fit(stage, key if stage.is_storable else "")
            if stage.is_storable:
                trained = whole_on_first(stage.trainable(self.model), is_first=ranks.is_first)
                kept = StoredStage(trained, stage.tuner.state(self.model.network), result)
                ranks.first(partial(store_stage, key, kept))
        self.spend(result.selection_seconds)
        self.subject.finish(stage, key)
        self.keep_result(result)
        return result

    def _fit(self, stage: Stage, key: str) -> StageResult:
        folder = self.folder / "checkpoints" / stage.name
        checkpoints = CheckpointFolder(folder, keep=self.recipe.runtime.keep_checkpoints, key=key)
        ranks = self.runtime.ranks
        of_rank = () if ranks.is_first else (f"rank {ranks.number}",)  # else all would drop the same units
        torch.manual_seed(derived_seed(self.runtime.seed, stage.name, *of_rank))
        with PeakMemory(self.runtime.device) as memory:
            result = fit(
                self.model,
                stage,
                log=self.log,
                checkpoints=checkpoints,
                checkpoint_every=self.recipe.runtime.checkpoint_every,
                stop_asked=self.stop_asked,
                ranks=ranks,
            )
        return replace(result, peak_memory_bytes=memory.peak_bytes)

    def score(self, stage: str) -> None:
        """Add the scorecard's rows for the model as it is now, measured or remembered: for what the stage has scored.

        Raises:
            Interrupted: `stop_asked()` is true, and they would have to be measured.
            OutOfMemory: the answers' cache does not fit.
        """
        tasks = self.subject.scored_after(stage)
        for task in self.tasks:
            if task.items and (tasks is None or task.name in tasks):
                acting = Acting(self.adapters_of[task.name]) if task.name in self.adapters_of else None
                key = fingerprint(self.state, task.judged_by, {} if acting is None else {"acting": acting.content})
                self.record(self._measured(stage, task.name, key, task.score, acting=acting))
        if tasks is None:
            self._measure_retention(stage, self.subject.key)  # what is kept of the network, whoever reads it

    def score_other(self, stage: str, task: Task, load: Callable[[], Trunk], *, key: str, family: Family) -> None:
        """Add the rows of `stage` for another model, of `family`; `load` gives it, `key` tells it from any other."""
        if task.items:
            self.record(self._measured(stage, task.name, fingerprint(key, task.judged_by), task.score, load=load))
        if family == "decoder":
            self._measure_retention(stage, key, load)

    def _measure_retention(self, stage: str, key: str, load: Callable[[], Trunk] | None = None) -> None:
        if self._retention is not None:
            judged_by = fingerprint(key, {"retention": self._retention.fingerprint})
            self.record(self._measured(stage, RETENTION, judged_by, self._score_retention, load=load))

    def _score_retention(self, model: Trunk, *, stage: str) -> Score:
        assert isinstance(model, LanguageModel) and self._retention is not None
        return score_retention(model, self._retention, stage=stage)

    def measure(self, stage: str, task: str, judged_by: Mapping[str, object], measure: Callable[..., Score]) -> None:
        """Add what `measure` gives of `task` for the model as it is now, or gave before: `judged_by` decides which.

        Raises:
            Interrupted: `stop_asked()` is true, and it would have to be measured.
            OutOfMemory: it does not fit.
        """
        self.record(self._measured(stage, task, fingerprint(self.state, judged_by), measure))

    def _measured(
        self,
        stage: str,
        task: str,
        key: str,
        measure: Callable[..., Score],
        *,
        acting: Acting | None = None,
        load: Callable[[], Trunk] | None = None,
    ) -> Score:
        """Return what `measure` gives of the model that `load` gives (of this one, if none), or gave before."""

        def score() -> tuple[Score]:
            if load is not None:
                return (measure(load(), stage=stage),)
            with acting_in(self.model.network, acting):
                return (self.model.gathered(lambda: measure(self.model, stage=stage)),)

        known = measured_once(
            stage,
            task,
            key,
            score,
            log=self.log,
            stop_asked=self.stop_asked,
            ranks=self.runtime.ranks,
            by_all=load is None and self.runtime.mesh is not None,
        )
        self.spend(known.seconds)
        (found,) = Scorecard.from_json(known.scorecard).scores
        return replace(found, stage=stage)

    @cached_property
    def _retention(self) -> RetentionSet | None:
        """What is kept of general text is asked of models that can write it."""
        return None if self.world.without_retention else RetentionSet.load()
