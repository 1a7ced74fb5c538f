"""How fast student and teacher answer, timed in turn on the same questions; an earlier run's figures are taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tenfold.techniques.distillation_claims import SERVING, TEACHER

if TYPE_CHECKING:
    from tenfold.evaluation.scorecard import Score, Scorecard
    from tenfold.models.trunk import Trunk
    from tenfold.tasks.task import Task
    from tenfold.teaching.serving import Served
    from tenfold.teaching.teacher import Teacher
    from tenfold.techniques.context import Run


def time_both(run: Run, teacher: Teacher, load: Callable[[], Trunk], task: Task, *, student: str) -> Scorecard:
    """Return the timings of the teacher, which reads `task`, and of the run's model as the stage `student`.

    Empty without test rows. `load` gives the teacher's model as it is served; what it took is added to the run's costs.
    """
    import platform

    from tenfold.engine.store import fingerprint
    from tenfold.evaluation.scorecard import Scorecard
    from tenfold.teaching.serving import serving_scores
    from tenfold.techniques.measured import measured_once

    if not _questions(run.world.first):
        return Scorecard()
    machine = [platform.node(), platform.machine(), str(run.runtime.chosen)]
    key = fingerprint(SERVING, student, run.state, teacher.sha256, *machine)

    def measure() -> Sequence[Score]:
        return serving_scores({TEACHER: _served(load(), task), student: _served(run.model, run.world.first)})

    known = measured_once(
        student, SERVING, key, measure, log=run.log, stop_asked=run.stop_asked, ranks=run.runtime.ranks
    )
    run.spend(known.seconds)
    return Scorecard.from_json(known.scorecard)


def _questions(task: Task) -> list[list[int]]:
    """Return the tokens that the task's test rows ask with; raw text asks nothing."""
    from tenfold.tasks.labels import LabelledItem

    tokens = [item.input_ids if isinstance(item, LabelledItem) else item.prompt_ids for item in task.items]
    return [ids for ids in tokens if ids]


def _served(model: Trunk, task: Task) -> Served:
    from tenfold.models.language_model import LanguageModel
    from tenfold.tasks.labels import LabelKind
    from tenfold.teaching.serving import Labeller, Writer

    if isinstance(task.kind, LabelKind):
        return Labeller(model, task.kind, _questions(task))
    assert isinstance(model, LanguageModel), "a student of words answers in words"
    return Writer(model, _questions(task))
