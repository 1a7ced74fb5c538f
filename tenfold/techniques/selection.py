"""How the best checkpoint of a stage is chosen: by validation rows of one task or of several."""

from __future__ import annotations

from collections.abc import Callable

from tenfold.engine.stage import Selection
from tenfold.evaluation.score import RESPONSE_LOSS
from tenfold.models.trunk import Trunk
from tenfold.recipe.sections import EvaluationSection
from tenfold.tasks.task import Task


def selection_by(
    tasks: list[Task], model: Callable[[], Trunk], evaluation: EvaluationSection, *, seed: int
) -> Selection | None:
    """Return the choice by the mean of the tasks' own metrics; None without validation rows or wish to choose."""
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
            score = task.kind.score(model(), items, stage="validation", task=task.name, data=data)
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
