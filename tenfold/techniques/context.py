"""What a technique is given: a run that opens the model, makes stages, trains, scores and remembers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch

from tenfold.engine.checkpoint import CheckpointFolder
from tenfold.engine.fit import fit, load_parameters
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
from tenfold.evaluation.retention import RetentionSet
from tenfold.evaluation.score import RESPONSE_LOSS, score_retention
from tenfold.evaluation.scorecard import RETENTION, Score, Scorecard
from tenfold.models.language_model import LanguageModel
from tenfold.models.open import open_model
from tenfold.models.trunk import Trunk
from tenfold.recipe import Recipe
from tenfold.tasks.task import Task
from tenfold.techniques.world import World
from tenfold.tuning.tuner import Tuner, make_tuner


class ScoresModel(Protocol):
    """What measures a model at a stage."""

    def __call__(self, model: Trunk, *, stage: str) -> Score:
        """Return the score."""
        ...


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
        self.tuner: Tuner = make_tuner(world.recipe.tuner)
        """What trains now: the recipe's tuner, or that of the last stage."""
        self.scorecard = Scorecard()
        self.results: list[StageResult] = []
        self.evaluation_seconds = 0.0
        self.wants_merged = False
        self.is_rebased = False
        """Whether a tuner sits on a base that earlier stages have changed, so that only a whole model says it all."""
        self._is_attached = False
        self._is_in_fp32 = self.tuner.loads_in_fp32
        loaded = [runtime.device.type, str(self._dtype), str(self._autocast), repr(self.tuner.quantization)]
        heads = {task.name: repr(task.kind.head) for task in self.tasks if task.kind.head}
        seeded = {"heads": heads, "seed": runtime.seed} if heads else {}
        self._state = fingerprint("base", world.identity.sha256, *loaded, seeded)

    @cached_property
    def model(self) -> Trunk:
        """The model with a head for each task that asks for one, loaded when first needed.

        It is untouched by the tuner until the first stage trains.
        """
        model = open_model(
            self.world.files.folder,
            self.world.tokenizer,
            dtype=self._dtype,
            device=self.runtime.device,
            quantization=self.tuner.quantization,
            trust_remote_code=self.recipe.model.trust_remote_code,
        )
        model.autocast = self._autocast
        for task in self.tasks:
            if task.kind.head is not None:
                torch.manual_seed(derived_seed(self.runtime.seed, "head", task.name))
                model.add_head(task.name, task.kind.head)
        return model

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float32 if self._is_in_fp32 else self.runtime.compute_dtype

    @property
    def _autocast(self) -> torch.dtype | None:
        return self.runtime.autocast if self._is_in_fp32 else None

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
        runtime = self.recipe.runtime.model_copy(update=self.runtime.chosen)
        return self.recipe.model_copy(update={"runtime": runtime})

    def record(self, score: Score) -> None:
        """Add a score of the technique's own, beside those of the recipe's tasks."""
        self.scorecard = self.scorecard.add(score)

    def save_merged(self) -> None:
        """Ask that the artifact also holds the base model with the adapter merged in."""
        self.wants_merged = True

    def train(self, stage: Stage) -> StageResult:
        """Restore `stage` from the store, or fit it and keep it there."""
        stage = self.attach(stage)
        network = self.model.network
        key = fingerprint(self._state, stage.content, {"seed": self.runtime.seed})
        stored = stored_stage(key)
        if stored is not None:
            load_parameters(stage.trainable(self.model), stored.trainable)
            stage.tuner.restore(network, stored.tuner)
            self.model.eval()
            result = replace(stored.result, from_store=True)
            self.log.write("stage_restored", stage=stage.name, updates=result.updates, seconds=result.seconds)
        else:
            result = self._fit(stage)
            if stage.is_storable:
                store_stage(key, StoredStage(stage.trainable(self.model), stage.tuner.state(network), result))
        self.evaluation_seconds += result.selection_seconds
        self._state = key
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

    def attach(self, stage: Stage) -> Stage:
        """Let the stage's tuner take hold of the model: from here on, what it chose trains and all else is frozen.

        A tuner that comes after another sits on the base with all that was trained before merged into it. Return the
        stage with its micro-batches as the model's route needs them.

        Raises:
            ModelError: what the tuner before has trained cannot be merged into the base.
        """
        assert stage.name not in (result.name for result in self.results), f"{stage.name} has been trained already"
        if not self._is_attached or stage.tuner is not self.tuner:
            self._attach(stage)
        return replace(stage, windows=stage.windows.padded(not self.model.route.packs))

    def _attach(self, stage: Stage) -> None:
        model = self.model
        names = ["attach"]
        if self._is_attached:
            self.is_rebased |= bool(self.tuner.trainable(model.network))
            model.rebase(self.tuner.merge(model.network))
            self._is_in_fp32 |= stage.tuner.loads_in_fp32
            names.append(stage.name)
        torch.manual_seed(derived_seed(self.runtime.seed, *names))
        network = stage.tuner.attach(model.base, total_updates=stage.total_updates)
        model.wrap(network, packs=stage.tuner.packs, autocast=self._autocast)
        if stage.gradient_checkpointing:
            model.recompute_activations()
        self.tuner, self._is_attached = stage.tuner, True

    def score(self, stage: str) -> None:
        """Add the scorecard's rows for the model as it is now, measured or remembered.

        Raises:
            Interrupted: `stop_asked()` is true, and they would have to be measured.
            OutOfMemory: the answers' cache does not fit.
        """
        for task in self.tasks:
            if task.items:
                self._score(stage, task.name, task.judged_by, task.score)
        if self._retention is not None:
            self._score(stage, RETENTION, {"retention": self._retention.fingerprint}, self._score_retention)

    def _score_retention(self, model: Trunk, *, stage: str) -> Score:
        assert isinstance(model, LanguageModel) and self._retention is not None
        return score_retention(model, self._retention, stage=stage)

    def _score(self, stage: str, task: str, judged_by: Mapping[str, object], measure: ScoresModel) -> None:
        key = fingerprint(self._state, judged_by)
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
