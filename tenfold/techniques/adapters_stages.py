"""The stages of adapter tuning, and what shows that none touched another: hashes, scores, time a row."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from tenfold.engine.checkpoint import hash_tensors
from tenfold.engine.stage import Stage
from tenfold.evaluation.scorecard import BEFORE
from tenfold.recipe.adapters import AdapterFusion, Bottleneck
from tenfold.tasks.task import Task
from tenfold.techniques.adapters_claims import largest_difference
from tenfold.techniques.adapters_options import FUSION, AdapterOptions
from tenfold.techniques.context import Run
from tenfold.tuning.acting import Acting, acting_in
from tenfold.tuning.adapter_bank import ATTRIBUTE, bank_of
from tenfold.tuning.bottleneck import ADAPTER, BottleneckTuner, FusionTuner
from tenfold.tuning.composition import Composition

TIMED_ROWS = 8
TIMES = 5


class AdapterStages:
    """The stages of one run: a tuner for each task's adapter, and one for their fusion."""

    def __init__(self, run: Run, options: AdapterOptions) -> None:
        self.run = run
        self.options = options
        self.tasks = {task.name: task for task in run.tasks}
        self.names = list(self.tasks)
        settings = run.recipe.tuner
        assert isinstance(settings, Bottleneck), "checked before anything was opened"
        is_single = len(self.names) == 1
        self._tuners = {name: BottleneckTuner(settings, adapter=ADAPTER if is_single else name) for name in self.names}
        self.fused = FusionTuner(AdapterFusion(adapters=dict.fromkeys(options.fuse or ("a", "b"))))
        self._base_sha256 = ""
        self._trained: dict[str, str] = {}

    def tuner(self, name: str) -> BottleneckTuner:
        """Return what trains the adapter of the task `name`."""
        return self._tuners[name]

    def own(self, place: int) -> Stage:
        """Return the stage of the task at `place`; the last of all stages scores every task once more."""
        name = self.names[place]
        is_last = place == len(self.names) - 1 and not self.options.fuse
        stage = self.run.stage(name if len(self.names) > 1 else "adapters", self.tasks[name])
        return replace(stage, tuner=self.tuner(name), scored=None if is_last else (name,))

    def fusion(self) -> Stage | None:
        """Return the stage that trains the fusion, if there is one."""
        name = self.options.fused_task
        if name is None:
            return None
        stage = self.run.stage(FUSION, self.tasks[name])
        return replace(stage, tuner=self.fused, learning_rate=self.options.fusion_learning_rate)

    def all(self) -> Iterator[Stage]:
        """Yield all stages in the order of training."""
        yield from (self.own(place) for place in range(len(self.names)))
        fusion = self.fusion()
        if fusion is not None:
            yield fusion

    def remember_base(self) -> None:
        """Note what the base is before anything takes hold of it."""
        self._base_sha256 = _base_sha256(self.run.model.base)

    def remember(self, name: str) -> None:
        """Note what the adapter of the task `name` is, now that it is trained."""
        self._trained[name] = self._hash(name)

    def score_each_fused(self) -> None:
        """Record how each adapter of the fusion answers the fusion's task by itself."""
        task = self.tasks[str(self.options.fused_task)]
        for name in self.options.fuse if task.items else ():
            composition = self.tuner(name).composition
            self.run.record(self.run.score_with(task, f"{task.name}@{name}", Acting(composition)))

    def report(self) -> None:
        """Tell how large each adapter is, and that base and adapters are what they were; time a row where asked for."""
        counts = {name: self._size(name) for name in self.names}
        self.run.report("trained parameters", counts)
        touched = [name for name in self.names if self._hash(name) != self._trained[name]]
        self.run.report("adapters changed by later stages", touched)
        self.run.report("base weights unchanged", _base_sha256(self.run.model.base) == self._base_sha256)
        difference = self._difference_of_bare_base()
        if difference is not None:
            self.run.report("largest difference of the bare base's scores", difference)
        if self.options.drop_blocks:
            for name, task in self.tasks.items():
                if task.items:
                    self._report_dropped(name, task)

    def _size(self, name: str) -> int:
        bank = bank_of(self.run.model.network)
        assert bank is not None
        return sum(parameter.numel() for parameter in bank.parameters_of(self.tuner(name).adapter))

    def _hash(self, name: str) -> str:
        bank = bank_of(self.run.model.network)
        assert bank is not None
        parameters = bank.parameters_of(self.tuner(name).adapter)
        return hash_tensors({str(place): parameter.detach() for place, parameter in enumerate(parameters)})

    def _difference_of_bare_base(self) -> float | None:
        """Return by how much any item of the first task that has some differs from row 0, with no adapter acting.

        None where every task has a head: that was trained, and no longer answers what it did.
        """
        task = next((task for task in self.run.tasks if task.items and task.kind.head is None), None)
        before = None if task is None else self.run.scorecard.score(BEFORE, task.name)
        if task is None or before is None:
            return None
        return largest_difference(before, self.run.score_with(task, "bare base", Acting(None)))

    def _report_dropped(self, name: str, task: Task) -> None:
        composition = self.run.adapters_of[name]
        without = tuple(range(self.options.drop_blocks))
        score = self.run.score_with(task, "dropped", Acting(composition, without))
        whole = self.run.score_with(task, "whole", Acting(composition))
        kept, dropped = self._seconds_a_row(task, composition, without)
        self.run.report(
            f"{name} without the first {len(without)} blocks' adapters",
            {
                score.primary.title: round(score.primary.value, 4),
                "with all": round(whole.primary.value, 4),
                "ms a row": round(1000 * dropped, 2),
                "ms a row with all": round(1000 * kept, 2),
            },
        )

    @torch.no_grad()
    def _seconds_a_row(
        self, task: Task, composition: Composition | None, without: tuple[int, ...]
    ) -> tuple[float, float]:
        """Return the median time of reading a row with all adapters and without some, measured in turn.

        Reading, since answers of other adapters are of other lengths. The first time of each does not count.
        """
        model = self.run.model
        assert task.test is not None, "a task with items has test rows"
        rows = [item.row for item in task.items[:TIMED_ROWS]]
        batch = task.test.batch(task.test.entries(rows))
        times: list[list[float]] = [[], []]
        for _ in range(TIMES + 1):
            for kept, blocks in zip(times, ((), without), strict=True):
                with acting_in(model.network, Acting(composition, blocks)):
                    started = time.perf_counter()
                    model.hidden(batch).sum().item()  # a GPU is waited for
                    kept.append(time.perf_counter() - started)
        whole, part = (statistics.median(kept[1:]) / len(rows) for kept in times)
        return whole, part


def _base_sha256(base: nn.Module) -> str:
    state: dict[str, Tensor] = base.state_dict()
    return hash_tensors({name: value for name, value in state.items() if not name.startswith(f"{ATTRIBUTE}.")})
