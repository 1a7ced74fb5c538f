"""The model of a run: loaded when needed, held by one tuner after another, brought back to where a stage begins."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch

from tenfold.engine.checkpoint import hash_tensors
from tenfold.engine.runtime import Runtime, derived_seed
from tenfold.engine.stage import Stage
from tenfold.engine.store import StoredStage, fingerprint, stored_stage
from tenfold.engine.training import load_parameters
from tenfold.errors import ModelError, Problem, RunFailure
from tenfold.evaluation.lineage import Ancestor
from tenfold.evaluation.scorecard import BEFORE
from tenfold.files import sha256_file
from tenfold.models.heads import FILE as HEADS_FILE
from tenfold.models.heads import load_heads
from tenfold.models.open import open_model, open_sharded
from tenfold.models.sharding import put_together
from tenfold.models.trunk import Reader, Trunk
from tenfold.techniques.world import World
from tenfold.tuning.tuner import Tuner, make_tuner


@dataclass(frozen=True)
class Finished:
    """A stage that has been trained: under which key the store holds it, and the stages up to it, itself the last."""

    stage: Stage
    key: str
    chain: tuple[str, ...]
    ancestor: Ancestor


class Subject:
    """The model that a run trains. `key` says all that made it what it is now; `chain` names its stages so far."""

    def __init__(self, world: World, runtime: Runtime) -> None:
        self.world = world
        self.runtime = runtime
        self.finished: dict[str, Finished] = {}
        self.readers: dict[str, Reader] = {}
        """What answers in place of a head, by task."""
        self._first = make_tuner(world.recipe.tuner)
        self._begun = ""
        self._begin_anew()

    def _begin_anew(self, tuner: Tuner | None = None) -> None:
        """Let the base be loaded once more, as `tuner` needs it (the recipe's, where none is named)."""
        vars(self).pop("model", None)
        self.tuner = tuner or self._first
        self.chain: tuple[str, ...] = ()
        self.is_rebased = self.world.files.is_made
        self.trained: dict[str, int] = {}
        """How many numbers each parameter has that was trained and is still apart from the base, by name."""
        self._is_attached = False
        self._is_in_fp32 = self.tuner.loads_in_fp32
        self._base_sha256 = self.world.identity.base_weights_sha256
        loaded = [self.runtime.device.type, str(self._dtype), str(self._autocast), repr(self.tuner.quantization)]
        heads = {task.name: repr(task.kind.head) for task in self.world.tasks.values() if task.kind.head}
        seeded: dict[str, object] = {"heads": heads, "seed": self.runtime.seed} if heads else {}
        if self._given_heads is not None:
            seeded["given"] = sha256_file(self._given_heads)
        self.key = fingerprint("base", self.world.identity.sha256, *loaded, seeded)

    @cached_property
    def model(self) -> Trunk:
        """The model with a head for each task that asks for one; untouched until the first stage is attached."""
        model = self._open()
        model.autocast, model.readers = self._autocast, self.readers
        for task in self.world.tasks.values():
            if task.kind.head is not None and task.name not in self.readers:
                torch.manual_seed(derived_seed(self.runtime.seed, "head", task.name))
                model.add_head(task.name, task.kind.head)
        if self._given_heads is not None:
            load_heads(model.heads, self._given_heads.parent)
        return model

    def _open(self) -> Trunk:
        files, tokenizer = self.world.files.folder, self.world.tokenizer
        is_trusted, device = self.world.recipe.model.trust_remote_code, self.runtime.device
        if self.runtime.mesh is not None:
            return open_sharded(
                files,
                tokenizer,
                self.runtime.mesh,
                dtype=self._dtype,
                compute_dtype=self._autocast,
                device=device,
                trust_remote_code=is_trusted,
            )
        return open_model(
            files,
            tokenizer,
            dtype=self._dtype,
            device=device,
            quantization=self.tuner.quantization,
            trust_remote_code=is_trusted,
        )

    def put_together(self, *, is_merged: bool) -> None:
        """Let the first rank have all of what is saved, where weights are sharded: nothing is computed after it.

        An adapter is whole on every rank; the base's weights are saved with it only where it `is_merged` into them.
        """
        is_all = is_merged or self.tuner.trains_base_weights or self.is_rebased
        if self.model.shards is not None and is_all:
            put_together(self.model.network, is_first=self.runtime.ranks.is_first)

    @property
    def _given_heads(self) -> Path | None:
        """The heads that a model made for this run brings along, where it does."""
        path = self.world.files.folder / HEADS_FILE
        return path if self.world.files.is_made and path.is_file() else None

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float32 if self._is_in_fp32 else self.runtime.compute_dtype

    @property
    def _autocast(self) -> torch.dtype | None:
        return self.runtime.autocast if self._is_in_fp32 else None

    def attach(self, stage: Stage) -> Stage:
        """Bring the model to where `stage` begins and let its tuner take hold; twice for one stage is as once.

        Return the stage with its micro-batches as the model's route needs them.

        Raises:
            ModelError: what the tuner before has trained cannot be merged into the base.
        """
        assert stage.name not in self.finished, f"{stage.name} has been trained already"
        if stage.name != self._begun:
            now = self.chain[-1] if self.chain else BEFORE
            if stage.starts_from not in (None, now):
                self._return_to(str(stage.starts_from))
            self._begun = stage.name
        self._take_hold(stage)
        return replace(stage, windows=stage.windows.padded(not self.model.route.packs))

    def finish(self, stage: Stage, key: str) -> None:
        """Note that the model is now as `stage` left it, and that the store holds that under `key`."""
        tuned = stage.tuner.trainable(self.model.network)
        self.trained.update({name: parameter.numel() for name, parameter in tuned.items()})
        ancestor = Ancestor(
            name=stage.name,
            tasks=stage.tasks,
            starts_from=self.chain[-1] if self.chain else BEFORE,
            tuner=stage.tuner.name,
            base_sha256=self._base_sha256,
            weights_sha256=hash_tensors({**tuned, **self.model.head_parameters()}),
        )
        self.chain = (*self.chain, stage.name)
        self.key = key
        self.finished[stage.name] = Finished(stage, key, self.chain, ancestor)

    def scored_after(self, stage: str) -> tuple[str, ...] | None:
        """Return the tasks that are scored after the finished `stage` (or `before`); None for all."""
        return self.finished[stage].stage.scored if stage in self.finished else None

    def restore(self, stage: Stage, stored: StoredStage) -> None:
        """Put what the store kept of `stage` into the model, which its tuner has taken hold of."""
        load_parameters(stage.trainable(self.model), stored.trainable)
        stage.tuner.restore(self.model.network, stored.tuner)
        self.model.eval()

    def _return_to(self, name: str) -> None:
        """Load the base anew and put every stage up to `name` into it, as the store keeps them."""
        assert name in (BEFORE, *self.finished), f"starts_from names {name}, which has not been trained"
        chain = () if name == BEFORE else self.finished[name].chain
        self._begin_anew()
        for each in chain:
            done = self.finished[each]
            assert done.stage.is_storable, f"{each} cannot be gone back to: its content does not tell it from others"
            stored = self.runtime.ranks.first(partial(stored_stage, done.key))
            if stored is None:
                again = "run the same command again: it is trained once more, with the same result"
                raise RunFailure(
                    Problem(f"stage {each}", "it was to be gone on from, and left the store", remedy=again)
                )
            self._take_hold(done.stage)
            self.restore(done.stage, stored)
            tuned = done.stage.tuner.trainable(self.model.network)
            self.trained.update({name: parameter.numel() for name, parameter in tuned.items()})
            self.chain, self.key = done.chain, done.key

    def _take_hold(self, stage: Stage) -> None:
        if self._is_attached and stage.tuner is self.tuner:
            return
        is_fixed = self.tuner.quantization is not None or (self.runtime.mesh is not None and not self._is_in_fp32)
        if not self._is_attached and stage.tuner.trains_base_weights and is_fixed:
            self._begin_anew(stage.tuner)  # weights in 4 bits cannot train, and those in parts keep their type
        model = self.model
        names = ["attach"]
        if self._is_attached and stage.tuner.joins(self.tuner):
            names.append(stage.name)
        elif self._is_attached:
            if model.shards is not None:
                found = f"{self.tuner.name} would be merged into sharded weights for {stage.tuner.name}"
                raise ModelError(Problem("runtime.fully_shard", found, remedy="set it to false"))
            self.is_rebased |= bool(self.tuner.trainable(model.network))
            model.rebase(self.tuner.merge(model.network))
            self._base_sha256 = hash_tensors(model.base.state_dict())
            self.trained.clear()
            names.append(stage.name)
        self._is_in_fp32 |= stage.tuner.loads_in_fp32
        torch.manual_seed(derived_seed(self.runtime.seed, *names))
        network = stage.tuner.attach(model.base, total_updates=stage.total_updates)
        model.wrap(network, packs=stage.tuner.packs, autocast=self._autocast)
        model.train_opened_heads(stage.tuner.loads_in_fp32 or stage.tuner.name == "frozen")
        if stage.gradient_checkpointing:
            model.recompute_activations()
        self.tuner, self._is_attached = stage.tuner, True

    def ancestors(self, names: Iterable[str]) -> tuple[Ancestor, ...]:
        """Return what is known of the finished stages `names`."""
        return tuple(self.finished[name].ancestor for name in names)
