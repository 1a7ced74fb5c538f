"""What is verified: the first stage of a recipe's own tuner, opened as often as a check needs it, on a few rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from tenfold.data.batch import Batch, Window
from tenfold.data.windows import ALL_AT_ONCE, WindowSource
from tenfold.engine.checkpoint import on_cpu
from tenfold.engine.log import Log
from tenfold.engine.runtime import open_runtime
from tenfold.engine.stage import Stage
from tenfold.engine.training import load_parameters
from tenfold.loading import load_tuned
from tenfold.models.trunk import Trunk
from tenfold.recipe import Recipe
from tenfold.saving import kind_of_weights, save_weights
from tenfold.tasks.task import Task
from tenfold.techniques.context import Run
from tenfold.techniques.opened import open_recipe
from tenfold.verify.measure import Tolerances, Values, row_values, tolerances, values_tolerance
from tenfold.verify.training import Trained, train

ROWS = 4
"""Rows of an update at most: fewer than two compare nothing, and more only take longer."""

TOKENS = 1024
"""Tokens of an update, where the first windows have one that small: a few seconds for 135M parameters on two cores."""

WINDOWS_SEEN = 16
"""How many of the first windows are looked through."""

UPDATES = 4
"""Updates that are trained: two before the interruption and two after it."""


@dataclass(frozen=True)
class FewWindows:
    """The windows of `source` that `chosen` names, over and over."""

    source: WindowSource
    chosen: tuple[int, ...]

    @property
    def micro_batch_tokens(self) -> int:
        """The bound on the tokens of one micro-batch."""
        return self.source.micro_batch_tokens

    @property
    def content(self) -> object:
        """All that decides which rows make which update."""
        return [self.source.content, self.chosen]

    def window(self, update: int) -> Window:
        """Return the micro-batches of an update."""
        return self.source.window(self.chosen[update % len(self.chosen)])

    def with_micro_batch_tokens(self, tokens: int) -> FewWindows:
        """Return the same windows with another bound on a micro-batch."""
        return replace(self, source=self.source.with_micro_batch_tokens(tokens))

    def padded(self, is_padded: bool) -> FewWindows:
        """Return the same windows for a model that pads rows (or packs them)."""
        return replace(self, source=self.source.padded(is_padded))

    def over_ranks(self, count: int) -> FewWindows:
        """Return the same windows with micro-batches for `count` processes."""
        return replace(self, source=self.source.over_ranks(count))

    def origin(self, row: int) -> str:
        """Return where a row stands."""
        return self.source.origin(row)


def few_windows(source: WindowSource) -> FewWindows:
    """Return the largest of the first windows that are small enough; the smallest ones where none is."""
    sizes: dict[int, int] = {}
    for update in range(WINDOWS_SEEN):
        sizes[update] = sum(batch.num_positions for batch in source.window(update).batches)
    small = [update for update, size in sizes.items() if size <= TOKENS]
    if small:
        order = sorted(small, key=lambda update: -sizes[update])
    else:
        order = sorted(sizes, key=lambda update: sizes[update])
    return FewWindows(source, tuple(order[:UPDATES]))


@dataclass(frozen=True)
class Opened:
    """The stage on a model of its own, ready to train."""

    run: Run
    stage: Stage

    @property
    def model(self) -> Trunk:
        """The model that the stage's tuner has taken hold of."""
        return self.run.model

    @property
    def alone(self) -> tuple[Batch, ...]:
        """The rows of the first update, each in a batch of its own."""
        return self.stage.windows.with_micro_batch_tokens(1).window(0).batches

    @property
    def together(self) -> tuple[Batch, ...]:
        """The same rows in one batch for each task."""
        return self.stage.windows.with_micro_batch_tokens(ALL_AT_ONCE).window(0).batches


@dataclass(frozen=True)
class Tuned:
    """A tuned model on disk, and what is expected of it."""

    load: Callable[[], Trunk]
    """Opens it in fp32, anew each time."""
    weights: Path
    kind: str
    """`adapter`, `model`, `heads` or `estimators`."""
    rows: tuple[Batch, ...]
    """Rows to ask it about, each in a batch of its own."""
    expected: Values
    """What the model says of them that the weights were saved from."""
    tolerance: float
    """How far rounding may take that."""

    @cached_property
    def reloaded(self) -> Values:
        """What the model says of them once it is opened from disk."""
        return row_values(self.load(), self.rows)


class Specimen:
    """A recipe's first stage. Whatever is opened of it begins alike: same base, same seed, same rows.

    Raises (when it is made):
        UserError: the recipe, its rows or its model cannot be used as asked.
    """

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.folder = folder
        recipe = recipe.model_copy(
            update={"optim": recipe.optim.model_copy(update={"batch_size": min(recipe.optim.batch_size, ROWS)})}
        )
        opened = open_recipe(recipe)
        self.technique, self.options, self.world = opened.technique, opened.options, opened.world
        self.runtime = open_runtime(opened.recipe.runtime)

    @property
    def task(self) -> Task:
        """The task whose rows are answered."""
        return self.world.first

    def open_run(self, precision: str) -> Run:
        """Return a run of the recipe that has done nothing yet, whose model computes in `precision`."""
        runtime = replace(self.runtime, precision=precision)
        run = Run(self.world, folder=self.folder / "run", runtime=runtime, log=Log(None))
        self.technique.begin(run, self.options)
        return run

    def open(self, precision: str | None = None) -> Opened:
        """Return the first stage on a fresh model; in the recipe's own precision where none is named."""
        run = self.open_run(precision or self.runtime.precision)
        stages = self.technique.plan(run, self.options).stages
        own = self.world.recipe.tuner  # what a technique trains to compare with may come before
        first = next((stage for stage in stages if stage.tuner.settings == own), stages[0])
        stage = replace(
            first,
            starts_from=None,
            selection=None,
            total_updates=UPDATES,
            windows=few_windows(first.windows),
        )
        return Opened(run, run.attach(stage))

    @cached_property
    def trains(self) -> bool:
        """Whether the technique trains anything of the model."""
        return bool(self.technique.plan(self.open_run(self.runtime.precision), self.options).stages)

    @property
    def stage_name(self) -> str | None:
        """The stage that is opened; None where nothing trains."""
        return self.trained[0].stage.name if self.trains else None

    @cached_property
    def trained(self) -> tuple[Opened, Trained]:
        """The stage trained for a few updates without a break, in the recipe's own precision."""
        opened = self.open()
        return opened, train(opened.model, opened.stage, seed=self.runtime.seed, folder=self.folder / "straight")

    @cached_property
    def _learned(self) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        opened, _ = self.trained
        own = opened.stage.tuner.state(opened.model.network)
        return on_cpu(opened.stage.trainable(opened.model)), on_cpu(own)

    def open_trained(self, precision: str = "fp32") -> Opened:
        """Return the stage on a fresh model in `precision`, with what was trained put in."""
        opened = self.open(precision)
        trainable, own = self._learned
        load_parameters(opened.stage.trainable(opened.model), trainable)
        opened.stage.tuner.restore(opened.model.network, own)
        opened.model.eval()
        return opened

    @cached_property
    def exact(self) -> Opened:
        """The trained stage in fp32, where a wrong formula stands out from rounding; nothing may move it."""
        opened, _ = self.trained
        return opened if self.runtime.precision == "fp32" else self.open_trained()

    @cached_property
    def allowed(self) -> Tolerances:
        """What rounding in fp32 may change of the first update."""
        return tolerances(self.exact.model, self.exact.stage, self.exact.alone, torch.float32)

    @cached_property
    def allowed_in_own_precision(self) -> Tolerances:
        """What rounding may change of it in the precision that the recipe trains in."""
        opened, _ = self.trained
        return tolerances(opened.model, opened.stage, opened.alone, self.runtime.compute_dtype)

    @cached_property
    def tuned(self) -> Tuned:
        """The trained model, saved as a run saves it, in fp32."""
        run, folder = self.exact.run, self.folder / "weights"
        save_weights(run, folder)
        heads = {task.name: vars(task.kind.head) for task in run.tasks if task.kind.head is not None}
        load = partial(
            load_tuned,
            run.resolved_recipe,
            folder,
            is_whole=kind_of_weights(run) == "model",
            heads=heads,
            runtime=run.runtime,
        )
        rows = self.exact.alone
        expected, tolerance = row_values(self.exact.model, rows), values_tolerance(self.exact.model, rows)
        return Tuned(load, folder, kind_of_weights(run), rows, expected, tolerance)

    @property
    def answering(self) -> Trunk:
        """The trained model in fp32, as it is in memory."""
        return self.exact.model

    @property
    def is_cpu(self) -> bool:
        """Whether the same sums are always added in the same order."""
        return self.runtime.device == torch.device("cpu")
