"""How the best checkpoint of a stage is chosen: by validation rows of one task or of several."""

from __future__ import annotations

from collections.abc import Callable

from tenfold.engine.stage import Judgement, Selection
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

    def judge() -> Judgement:
        measures = []
        for task in tasks:
            data = task.data.model_copy(update={"metrics": task.data.metrics[:1]})
            items = chosen[task.name]
            score = task.kind.score(model(), items, stage="validation", task=task.name, data=data)
            measures.append(score.primary)
        if len(measures) == 1:
            return Judgement(measures[0].value, measures[0].name, measures[0].higher_is_better)
        mean = sum(each.worth for each in measures) / len(measures)
        return Judgement(mean, f"mean of {', '.join(each.name for each in measures)}")

    judged = [
        [task.name, sides[task.name].fingerprint, task.data.metrics[:1], task.data.max_new_tokens] for task in tasks
    ]
    return Selection(
        judge,
        every=evaluation.every,
        patience=evaluation.patience,
        content=[*judged, evaluation.max_rows, seed],
    )
