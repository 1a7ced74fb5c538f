"""The stages of cross-lingual tuning: language adapters, the sources, few rows of each other language."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tenfold.data.batch import Batch
from tenfold.data.mixture import Mixture, apportioned, temperature_shares
from tenfold.data.prepare import Prepared, chosen
from tenfold.data.windows import Windows
from tenfold.engine.stage import Stage
from tenfold.errors import Problem, UserError, collecting
from tenfold.evaluation.scorecard import BEFORE
from tenfold.models.load import outline
from tenfold.models.trunk import Trunk
from tenfold.objectives.objective import Loss, Objective
from tenfold.recipe import Recipe
from tenfold.recipe.adapters import Bottleneck
from tenfold.recipe.optim import mixing_problems
from tenfold.tasks.task import Task
from tenfold.techniques.context import Run
from tenfold.techniques.cross_lingual_options import FEW_SHOT, TEXT, ZERO_SHOT, CrossLingualOptions, few_shot_name
from tenfold.techniques.world import World
from tenfold.tuning.adapter_bank import bank_of
from tenfold.tuning.bottleneck import BottleneckTuner
from tenfold.tuning.composition import Composition, Stack
from tenfold.tuning.rehearsal import rehearse
from tenfold.tuning.tuner import Tuner

ADAPTER = "task"
"""The name of the adapter that learns the task, where languages have adapters too."""


@dataclass(frozen=True)
class InLanguages:
    """An objective while whose computing the adapters of the batch's own language act (by task)."""

    objective: Objective
    compositions: Mapping[str, Composition]

    def weight(self, batch: Batch) -> int:
        """Return what the objective itself counts."""
        return self.objective.weight(batch)

    def __call__(self, model: Trunk, batch: Batch) -> Loss:
        """Return the objective's loss."""
        bank = bank_of(model.network)
        assert bank is not None, "language adapters stand in a bank"
        bank.activate(self.compositions[batch.task])
        return self.objective(model, batch)


def require_fitting(world: World, options: CrossLingualOptions) -> None:
    """Check that every language has the rows, and every named adapter fits the model, before anything is scored.

    Raises:
        UserError: with every problem of both.
    """
    targets = [name for name in world.tasks if name not in options.source and not name.startswith(TEXT)]
    is_mixed = len(options.source) > 1 or (options.few_shot and len(targets) > 1)
    problems = mixing_problems(world.recipe.optim, "of several languages") if is_mixed else []
    most = max(options.few_shot, default=0)
    for task in world.tasks.values():
        if len(task.train) < most and task.name in targets:
            found, allowed = f"{len(task.train)} training rows", f"at least {most} (technique.few_shot)"
            remedy = f"set technique.few_shot to {len(task.train)} at most, or add rows"
            problems.append(Problem(f"language {task.name}", found, allowed, remedy))
    for language, folder in options.language_adapters.items():
        told: list[Problem] = []
        with collecting(told):
            tuner = _bottleneck(world.recipe, ADAPTER, borrowed={_of(language): folder})
            rehearse(tuner, outline(world.files.folder, trust_remote_code=world.recipe.model.trust_remote_code))
        where = f"technique.language_adapters.{language}"
        problems += [
            Problem(where, str(replace(each, allowed="", remedy="")), each.allowed, each.remedy) for each in told
        ]
    if problems:
        raise UserError(*problems)


def _bottleneck(
    recipe: Recipe, adapter: str, *, on: tuple[str, ...] = (), borrowed: Mapping[str, str]
) -> BottleneckTuner:
    assert isinstance(recipe.tuner, Bottleneck), "checked before anything was opened"
    return BottleneckTuner(recipe.tuner, adapter=adapter, on=on, borrowed=borrowed)


class CrossLingualStages:
    """The stages of one run."""

    def __init__(self, run: Run, options: CrossLingualOptions) -> None:
        self.run = run
        self.options = options
        self.tasks = {task.name: task for task in run.tasks if not task.name.startswith(TEXT)}
        self.texts = {task.name.removeprefix(TEXT): task for task in run.tasks if task.name.startswith(TEXT)}
        self.sources = [self.tasks[name] for name in options.source]
        self.targets = [task for name, task in self.tasks.items() if name not in options.source]

    @property
    def beginning(self) -> str:
        """The stage before the task is learned: the last language's, or the model as it came."""
        return f"{TEXT}{list(self.texts)[-1]}" if self.texts else BEFORE

    def composition(self, language: str) -> Composition:
        """Return what acts in `language`: the task's adapter, on the language's own where it has one."""
        return Stack(_of(language), ADAPTER) if language in self.options.adapted else ADAPTER

    def all(self) -> list[Stage]:
        """Return every stage in the order of training."""
        stages = [self.text(language) for language in self.texts]
        return [*stages, self.zero_shot(), *self.few_shots(), *([self.together()] if self.options.few_shot else [])]

    def text(self, language: str) -> Stage:
        """Return the stage that trains the adapter of `language` on its raw text."""
        task = self.texts[language]
        return replace(self.run.stage(task.name, task), tuner=self._tuner(_of(language)), scored=(task.name,))

    def zero_shot(self) -> Stage:
        """Return the stage that trains the source languages, smoothed where there are several."""
        sources = self.sources
        stage = self.run.stage(ZERO_SHOT, sources[0])
        shares = self.shares()
        rows = apportioned(sum(len(task.train) for task in sources), shares)
        mixture = Mixture(
            tuple(task.windows for task in sources), rows, batch_size=stage.optim.batch_size, seed=self.run.runtime.seed
        )
        windows = mixture if len(sources) > 1 else sources[0].windows
        optim = stage.optim
        return replace(
            self._in(stage, sources),
            windows=windows,
            total_updates=windows.total_updates(optim.epochs, optim.max_updates),
            selection=self.run.selection(sources),
            tasks=tuple(task.name for task in sources),
            starts_from=self.beginning,
        )

    def shares(self) -> tuple[float, ...]:
        """Return in which shares the source languages' rows are met."""
        sizes = [len(task.train) for task in self.sources]
        return temperature_shares(sizes, temperature=1 / self.options.smoothing, max_examples=max(sizes))

    def few_shots(self) -> list[Stage]:
        """Return the stages on few rows of one language: from the sources on, and without them."""
        kinds = (False, True) if self.options.compare_alone else (False,)
        return [
            self._few([task], rows, draw, name=few_shot_name(task.name, rows, draw, alone=alone), alone=alone)
            for draw in range(self.options.few_shot_draws)
            for rows in self.options.few_shot
            for task in self.targets
            for alone in kinds
        ]

    def together(self) -> Stage:
        """Return the stage that is kept: the most rows that were asked for, of every language at once."""
        stage = self._few(self.targets, max(self.options.few_shot), 0, name=FEW_SHOT, alone=False)
        return replace(stage, scored=None, total_updates=self.options.few_shot_updates * len(self.targets))

    def _few(self, tasks: list[Task], rows: int, draw: int, *, name: str, alone: bool) -> Stage:
        stage = self._in(self.run.stage(name, tasks[0]), tasks)
        sources = tuple(self._windows(task, rows, draw) for task in tasks)
        size, seed = stage.optim.batch_size, self.run.runtime.seed
        mixture = Mixture(sources, (rows,) * len(sources), batch_size=size, seed=seed)
        return replace(
            stage,
            windows=mixture if len(sources) > 1 else sources[0],
            total_updates=self.options.few_shot_updates,
            learning_rate=self.options.few_shot_learning_rate or stage.learning_rate,
            selection=None,  # few rows are few because there are no more: none are left to choose by
            tasks=tuple(task.name for task in tasks),
            scored=tuple(task.name for task in tasks),
            starts_from=self.beginning if alone else ZERO_SHOT,
        )

    def _windows(self, task: Task, rows: int, draw: int) -> Windows:
        return replace(task.windows, prepared=few_rows(task.train, rows, seed=self.run.runtime.seed + draw))

    def _in(self, stage: Stage, tasks: list[Task]) -> Stage:
        """Return `stage` with the adapters of the languages of `tasks` acting, where languages have any."""
        if not self.options.adapted:
            return stage
        compositions = {task.name: self.composition(task.name) for task in tasks}
        first = tasks[0].name
        on = (_of(first),) if first in self.options.adapted else ()
        objective = (
            InLanguages(stage.objective, compositions) if len(set(compositions.values())) > 1 else stage.objective
        )
        return replace(stage, tuner=self._tuner(ADAPTER, on=on), objective=objective)

    def _tuner(self, adapter: str, *, on: tuple[str, ...] = ()) -> Tuner:
        borrowed = {_of(language): folder for language, folder in self.options.language_adapters.items()}
        return _bottleneck(self.run.recipe, adapter, on=on, borrowed=borrowed)


def few_rows(train: Prepared, rows: int, *, seed: int) -> Prepared:
    """Return so many entries of `train`, the first ones in an order that only `seed` and their content decide."""
    return train.select(chosen(train, max_rows=rows, seed=seed))


def _of(language: str) -> str:
    return f"lang-{language}"
