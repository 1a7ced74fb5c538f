"""What a technique is given: a run that opens the model, makes stages, trains, scores and remembers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch

from tenfold.data.windows import MICRO_BATCH_TOKENS
from tenfold.engine.checkpoint import CheckpointFolder
from tenfold.engine.fit import fit
from tenfold.engine.log import Log
from tenfold.engine.memory import out_of_memory_named
from tenfold.engine.runtime import Runtime, derived_seed
from tenfold.engine.stage import Selection, Stage, StageResult
from tenfold.engine.store import (
    StoredScore,
    StoredStage,
    fingerprint,
    store_score,
    store_stage,
    stored_score,
    stored_stage,
)
from tenfold.errors import Interrupted, Problem
from tenfold.evaluation.cost import PeakMemory
from tenfold.evaluation.lineage import Lineage
from tenfold.evaluation.retention import RetentionSet
from tenfold.evaluation.score import RESPONSE_LOSS, score_retention
from tenfold.evaluation.scorecard import RETENTION, Score, Scorecard
from tenfold.models.language_model import LanguageModel
from tenfold.models.trunk import Reader, Trunk
from tenfold.recipe import Recipe
from tenfold.tasks.task import Task
from tenfold.techniques.subject import Subject
from tenfold.techniques.world import World
from tenfold.tuning.tuner import Tuner

ADAPTER_TOKENS_ON_CPU = 576
"""Tokens of an adapter's micro-batch on a CPU where the recipe names none. A core multiplies 256 rows as fast as 1,024,
so more at once costs memory and gains little; what trains all weights adds up their gradients once for each."""


class Run:
    """One run of a recipe: the context a technique reads, and what `run()` drives.

    A technique calls `stage` (and `save_merged`); everything else is the driver's.
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
        self.world = world
        self.recipe = world.recipe
        self.folder = folder
        self.runtime = runtime
        self.log = log
        self.stop_asked = stop_asked
        self.subject = Subject(world, runtime)
        self.scorecard = Scorecard()
        self.results: list[StageResult] = []
        self.fitted: dict[str, Path] = {}  # for each task that an estimator was fitted to, the folder of what was made
        self._answered_by: tuple[str, ...] = ()
        self.evaluation_seconds = 0.0
        self.wants_merged = False
        self.reported: dict[str, object] = {}
        """What the technique found worth telling, as plain JSON values by name; kept with the artifact."""

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
        """Whether a tuner sits on a base that earlier stages have changed, so that only a whole model says it all."""
        return self.subject.is_rebased

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
        evaluation, seed = self.recipe.evaluation, self.runtime.seed
        sides = {task.name: task.validation for task in tasks if task.validation is not None}
        if evaluation.every is None or not sides:
            return None
        chosen = {
            task.name: task.kind.items(sides[task.name], max_rows=evaluation.max_rows, seed=seed)
            for task in tasks
            if task.name in sides
        }

        def measure() -> float:
            measures = []
            for task in tasks:
                data = task.data.model_copy(update={"metrics": task.data.metrics[:1]})
                items = chosen[task.name]
                score = task.kind.score(self.model, items, stage="validation", task=task.name, data=data)
                measures.append(score.primary)
            if len(measures) == 1:
                return measures[0].value
            return sum(each.value if each.higher_is_better else -each.value for each in measures) / len(measures)

        judged = [
            [task.name, sides[task.name].fingerprint, task.data.metrics[:1], task.data.max_new_tokens] for task in tasks
        ]
        settled = [task.kind.settled(chosen[task.name], task.data).metrics for task in tasks]
        names = [metrics[0] if metrics else RESPONSE_LOSS for metrics in settled]
        return Selection(
            measure,
            metric=names[0] if len(names) == 1 else f"mean of {', '.join(names)}",
            higher_is_better=names != [RESPONSE_LOSS],
            every=evaluation.every,
            patience=evaluation.patience,
            content=[*judged, evaluation.max_rows, seed],
        )

    @property
    def resolved_recipe(self) -> Recipe:
        """The recipe with every `auto` replaced by what it became."""
        given = self.recipe.runtime.micro_batch_tokens or MICRO_BATCH_TOKENS
        tokens = self._open_micro_batch_tokens(self.tuner) or given
        chosen = self.runtime.chosen | {"micro_batch_tokens": tokens}
        runtime = self.recipe.runtime.model_copy(update=chosen)
        return self.recipe.model_copy(update={"runtime": runtime})

    def record(self, score: Score) -> None:
        """Add a score of the technique's own, beside those of the recipe's tasks."""
        self.scorecard = self.scorecard.add(score)

    @property
    def state(self) -> str:
        """The hash of all that makes the model answer as it does now."""
        return fingerprint(self.subject.key, *self._answered_by) if self._answered_by else self.subject.key

    def answer_with(self, task: str, reader: Reader, *, key: str) -> None:
        """Let `reader`, which `key` tells from any other, answer `task` from now on in place of a head."""
        self.subject.readers[task] = reader
        self._answered_by = (*self._answered_by, task, key)

    def save_merged(self) -> None:
        """Ask that the artifact also holds the base model with the adapter merged in."""
        self.wants_merged = True

    def report(self, name: str, value: object) -> None:
        """Keep `value` (plain JSON values) under `name` in the artifact, and show it with the scores."""
        self.reported[name] = value

    def attach(self, stage: Stage) -> Stage:
        """Bring the model to where `stage` begins and let its tuner take hold; all else is frozen from here on.

        A stage that starts from an earlier one finds the model as that one left it. A tuner that comes after another
        sits on the base with all that was trained before merged into it. `train` does this by itself; a technique
        does it first where a loss depends on where the stage begins. Return the stage with its micro-batches as
        the model's route needs them.

        Raises:
            ModelError: what the tuner before has trained cannot be merged into the base.
        """
        stage = self.subject.attach(stage)
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
        stored = stored_stage(key)
        if stored is not None:
            self.subject.restore(stage, stored)
            result = replace(stored.result, from_store=True)
            self.log.write("stage_restored", stage=stage.name, updates=result.updates, seconds=result.seconds)
        else:
            result = self._fit(stage)
            if stage.is_storable:
                store_stage(
                    key, StoredStage(stage.trainable(self.model), stage.tuner.state(self.model.network), result)
                )
        self.evaluation_seconds += result.selection_seconds
        self.subject.finish(stage, key)
        self.results.append(result)
        return result

    def _fit(self, stage: Stage) -> StageResult:
        checkpoints = CheckpointFolder(
            self.folder / "checkpoints" / stage.name, keep=self.recipe.runtime.keep_checkpoints
        )
        torch.manual_seed(derived_seed(self.runtime.seed, stage.name))
        with PeakMemory(self.runtime.device) as memory:
            result = fit(
                self.model,
                stage,
                log=self.log,
                checkpoints=checkpoints,
                checkpoint_every=self.recipe.runtime.checkpoint_every,
                stop_asked=self.stop_asked,
            )
        return replace(result, peak_memory_bytes=memory.peak_bytes)

    def score(self, stage: str) -> None:
        """Add the scorecard's rows for the model as it is now, measured or remembered.

        Raises:
            Interrupted: `stop_asked()` is true, and they would have to be measured.
            OutOfMemory: the answers' cache does not fit.
        """
        for task in self.tasks:
            if task.items:
                self.measure(stage, task.name, task.judged_by, task.score)
        if self._retention is not None:  # what is kept of the network, whoever reads it
            key = fingerprint(self.subject.key, {"retention": self._retention.fingerprint})
            self._measured_once(stage, RETENTION, key, self._score_retention)

    def _score_retention(self, model: Trunk, *, stage: str) -> Score:
        assert isinstance(model, LanguageModel) and self._retention is not None
        return score_retention(model, self._retention, stage=stage)

    def measure(self, stage: str, task: str, judged_by: Mapping[str, object], measure: Callable[..., Score]) -> None:
        """Add what `measure` gives of `task` for the model as it is now, or gave before: `judged_by` decides which.

        Raises:
            Interrupted: `stop_asked()` is true, and it would have to be measured.
            OutOfMemory: it does not fit.
        """
        self._measured_once(stage, task, fingerprint(self.state, judged_by), measure)

    def _measured_once(self, stage: str, task: str, key: str, measure: Callable[..., Score]) -> None:
        known = stored_score(key)
        if known is None:
            if self.stop_asked():
                again = "run the same command again: what was trained is in the store"
                raise Interrupted(Problem(f"stopped before scoring {stage}", "as asked", remedy=again))
            self.log.write("scoring", stage=stage, task=task)
            started = time.perf_counter()
            with out_of_memory_named(f"scoring {stage}"):
                card = Scorecard((measure(self.model, stage=stage),))
            known = StoredScore(card.to_json(), time.perf_counter() - started)
            store_score(key, known)
            self.log.write("scored", stage=stage, task=task, seconds=round(known.seconds, 3))
        else:
            self.log.write("score_restored", stage=stage, task=task)
        self.evaluation_seconds += known.seconds
        for score in Scorecard.from_json(known.scorecard).scores:
            self.scorecard = self.scorecard.add(replace(score, stage=stage))

    @cached_property
    def _retention(self) -> RetentionSet | None:
        """What is kept of general text is asked of models that can write it."""
        wanted = self.recipe.evaluation.retention and self.world.family == "decoder"
        return RetentionSet.load() if wanted else None
