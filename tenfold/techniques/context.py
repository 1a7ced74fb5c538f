"""What a technique is given: a run that opens the model, makes stages, trains, scores and remembers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch

from tenfold.data.prepare import items
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
from tenfold.evaluation.score import score_retention, score_task
from tenfold.evaluation.scorecard import Score, Scorecard
from tenfold.models.language_model import LanguageModel
from tenfold.models.open import open_model
from tenfold.objectives.causal_lm import CausalLanguageModelling
from tenfold.recipe import Recipe
from tenfold.techniques.world import World
from tenfold.tuning.tuner import Tuner, make_tuner

ADAPTER_TOKENS_ON_CPU = 640
"""Tokens of an adapter's micro-batch on a CPU where the recipe names none. A core multiplies 256 rows as fast as 1,024,
so more at once costs memory and gains little; what trains all weights adds up their gradients once for each."""

TASK = "main"
"""The name of a recipe's own task in the scorecard."""


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
        self.scorecard = Scorecard()
        self.results: list[StageResult] = []
        self.evaluation_seconds = 0.0
        self.wants_merged = False
        self._attached = False
        loaded = [runtime.device.type, str(self._dtype), str(self._autocast), repr(self.tuner.quantization)]
        self._state = fingerprint("base", world.identity.sha256, *loaded)

    @cached_property
    def model(self) -> LanguageModel:
        """The language model, loaded when first needed; untouched by the tuner until the first stage trains."""
        model = open_model(
            self.world.files.folder,
            self.world.tokenizer,
            dtype=self._dtype,
            device=self.runtime.device,
            quantization=self.tuner.quantization,
            trust_remote_code=self.recipe.model.trust_remote_code,
        )
        model.autocast = self._autocast
        return model

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float32 if self.tuner.loads_in_fp32 else self.runtime.compute_dtype

    @property
    def _autocast(self) -> torch.dtype | None:
        return self.runtime.autocast if self.tuner.loads_in_fp32 else None

    def stage(self, name: str) -> Stage:
        """Return the stage that the recipe describes: its tuner, response loss, rows, length and selection."""
        optim = self.recipe.optim
        assert optim.learning_rate is not None, "the resolved recipe has a learning rate"
        return Stage(
            name=name,
            tuner=self.tuner,
            objective=CausalLanguageModelling(label_smoothing=optim.label_smoothing),
            windows=self.world.windows,
            optim=optim,
            learning_rate=optim.learning_rate,
            total_updates=self.world.total_updates,
            selection=self._selection(),
            gradient_checkpointing=self.recipe.runtime.gradient_checkpointing,
        )

    @property
    def resolved_recipe(self) -> Recipe:
        """The recipe with every `auto` replaced by what it became."""
        chosen = self.runtime.chosen | {"micro_batch_tokens": self._micro_batch_tokens}
        runtime = self.recipe.runtime.model_copy(update=chosen)
        return self.recipe.model_copy(update={"runtime": runtime})

    def save_merged(self) -> None:
        """Ask that the artifact also holds the base model with the adapter merged in."""
        self.wants_merged = True

    def train(self, stage: Stage) -> StageResult:
        """Restore `stage` from the store, or fit it and keep it there."""
        assert stage.tuner is self.tuner, "one tuner serves all stages of a run: vary the stage, not its tuner"
        stage = self.attach(stage)
        network = self.model.network
        key = self._fingerprint(stage)
        stored = stored_stage(key)
        if stored is not None:
            load_parameters(self.tuner.trainable(network), stored.trainable)
            self.tuner.restore(network, stored.tuner)
            network.eval()
            result = replace(stored.result, from_store=True)
            self.log.write("stage_restored", stage=stage.name, updates=result.updates, seconds=result.seconds)
        else:
            result = self._fit(stage)
            if stage.is_storable:
                store_stage(key, StoredStage(self.tuner.trainable(network), self.tuner.state(network), result))
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
        """Let the tuner take hold of the model, once: from here on, what it chose trains and all else is frozen.

        Return the stage with its micro-batches as the model's route needs them.
        """
        if not self._attached:
            self._attach(stage)
        windows = stage.windows.with_micro_batch_tokens(self._micro_batch_tokens)
        return replace(stage, windows=replace(windows, is_padded=not self.model.route.packs))

    @property
    def _micro_batch_tokens(self) -> int:
        given = self.world.windows.micro_batch_tokens
        is_open = self.recipe.runtime.micro_batch_tokens is None
        is_small = self.runtime.device.type == "cpu" and not self.tuner.trains_base_weights
        return min(given, ADAPTER_TOKENS_ON_CPU) if is_open and is_small else given

    def _attach(self, stage: Stage) -> None:
        model = self.model
        torch.manual_seed(derived_seed(self.runtime.seed, "attach"))
        network = self.tuner.attach(model.causal, total_updates=stage.total_updates)
        model.wrap(network, packs=self.tuner.packs, autocast=self._autocast)
        if stage.gradient_checkpointing:
            model.recompute_activations()
        self._attached = True

    def score(self, stage: str) -> None:
        """Add the scorecard's rows for the model as it is now, measured or remembered.

        Raises:
            Interrupted: `stop_asked()` is true, and they would have to be measured.
            OutOfMemory: the answers' cache does not fit.
        """
        retention = "" if self._retention is None else self._retention.fingerprint
        items = [self.world.test_fingerprint, [item.row for item in self.world.test_items]]
        key = fingerprint(self._state, {"items": items}, retention, self.recipe.evaluation.model_dump())
        known = stored_score(key)
        if known is None:
            if self.stop_asked():
                again = "run the same command again: what was trained is in the store"
                raise Interrupted(Problem(f"stopped before scoring {stage}", "as asked", remedy=again))
            self.log.write("scoring", stage=stage)
            started = time.perf_counter()
            with out_of_memory_named(f"scoring {stage}"):
                card = Scorecard(tuple(self._measured(stage)))
            known = StoredScore(card.to_json(), time.perf_counter() - started)
            store_score(key, known)
            self.log.write("scored", stage=stage, seconds=round(known.seconds, 3))
        else:
            self.log.write("score_restored", stage=stage)
        self.evaluation_seconds += known.seconds
        for score in Scorecard.from_json(known.scorecard).scores:
            self.scorecard = self.scorecard.add(replace(score, stage=stage))

    @cached_property
    def _retention(self) -> RetentionSet | None:
        return RetentionSet.load() if self.recipe.evaluation.retention else None

    def _measured(self, stage: str) -> Iterator[Score]:
        evaluation = self.recipe.evaluation
        if self.world.test_items:
            yield score_task(
                self.model,
                self.world.test_items,
                stage=stage,
                task=TASK,
                stop_ids=self.world.renderer.stop_ids,
                metrics=evaluation.metrics,
                max_new_tokens=evaluation.max_new_tokens,
            )
        if self._retention is not None:
            yield score_retention(self.model, self._retention, stage=stage)

    def _selection(self) -> Selection | None:
        """Return how the best checkpoint is chosen: by the task metric on the validation rows."""
        evaluation = self.recipe.evaluation
        if evaluation.every is None or self.world.validation is None:
            return None
        chosen = items(self.world.validation, self.world.renderer, max_rows=evaluation.max_rows, seed=self.runtime.seed)

        def measure() -> float:
            score = score_task(
                self.model,
                chosen,
                stage="validation",
                task=TASK,
                stop_ids=self.world.renderer.stop_ids,
                metrics=evaluation.metrics[:1],
                max_new_tokens=evaluation.max_new_tokens,
            )
            return score.primary.value if score.primary.higher_is_better else -score.primary.value

        return Selection(measure, every=evaluation.every, patience=evaluation.patience)

    def _fingerprint(self, stage: Stage) -> str:
        """Return the hash of all that determines what `stage` comes to, the stages before it included."""
        judged: dict[str, object] = {}
        if stage.selection is not None and self.world.validation is not None:
            judged = self.recipe.evaluation.model_dump(include={"metrics", "max_rows", "max_new_tokens"})
            judged["rows"] = self.world.validation.fingerprint
        return fingerprint(self._state, stage.content, judged, {"seed": self.runtime.seed})
