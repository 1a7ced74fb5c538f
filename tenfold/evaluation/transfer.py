"""What did training on one task after another do to the others? Backward and forward transfer, and forgetting.

With R(i, j) the score on task j after stage i, of T stages that each train a task, and R(0, j) that of the model as it
came:

    backward transfer   mean over tasks before the last of R(T, j) - R(j, j): below zero, later stages cost them
    forward transfer    mean over tasks after the first of R(j - 1, j) - R(0, j): what earlier stages gave in advance
    forgetting          mean over tasks before the last of max over l < T of R(l, j) - R(T, j)

Source: the transfers, Lopez-Paz & Ranzato 2017 (arXiv 1706.08840), section 2, whose R(0, j) is a random network's;
forgetting, Chaudhry et al. 2018 (arXiv 1801.10112), section 3. A task that several stages train counts from the last of
them backward, from the first of them forward. Scores of which less is better count with their sign turned.
Intervals draw items within each task; the best earlier stage is chosen once, on all items.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tenfold.evaluation.scorecard import BEFORE, Measure, Scorecard
from tenfold.evaluation.statistics import Draws, Interval, mean_of


@dataclass(frozen=True)
class Transfer:
    """The three figures over all tasks that they speak of, and forgetting task by task."""

    backward: Interval
    forward: Interval
    forgetting: Interval
    forgotten: Mapping[str, Interval]
    metrics: Mapping[str, str]
    """By which measure each task was judged."""
    best: Mapping[str, str]
    """The stage that forgetting counts from, of each task before the last."""


@dataclass(frozen=True)
class Step:
    """A task's score at one stage, to be compared with that at another."""

    task: str
    early: str
    late: str


def shared_metrics(scorecard: Scorecard, tasks: Iterable[str]) -> dict[str, str] | None:
    """Return a measure for each of `tasks`, all in one unit, so that a mean over tasks means something.

    Each task's own metric where these share a unit, else the first measure that all tasks have; None without one.
    """
    scores = {task: scorecard.score(scorecard.stages[-1], task) for task in tasks} if scorecard.stages else {}
    if not scores or any(score is None for score in scores.values()):
        return None
    known = {task: score for task, score in scores.items() if score is not None}
    if len({(score.primary.unit, score.primary.higher_is_better) for score in known.values()}) == 1:
        return {task: score.primary.name for task, score in known.items()}
    first, *others = known.values()
    common = [name for name in first.measures if all(name in other.measures for other in others)]
    return dict.fromkeys(known, common[0]) if common else None


def mean_gain(scorecard: Scorecard, steps: Sequence[Step], metrics: Mapping[str, str]) -> Interval | None:
    """Return the mean over `steps` of late - early, above zero for better; None where a score is missing."""
    # steps of one task have its items in common: each resample draws the same ones for all of them
    seeds = {task: seed for seed, task in enumerate(dict.fromkeys(step.task for step in steps))}
    draws = [
        _gain(scorecard, step, metrics[step.task], seed=seeds[step.task]) for step in steps if step.task in metrics
    ]
    known = [each for each in draws if each is not None]
    return mean_of(known) if known and len(known) == len(steps) else None


def _gain(scorecard: Scorecard, step: Step, metric: str, *, seed: int) -> Draws | None:
    early, late = (_measure(scorecard, stage, step.task, metric) for stage in (step.early, step.late))
    if early is None or late is None:
        return None
    return early.draws_to(late, seed=seed) * (1.0 if late.higher_is_better else -1.0)


def _measure(scorecard: Scorecard, stage: str, task: str, metric: str) -> Measure | None:
    score = scorecard.score(stage, task)
    return None if score is None else score.measures.get(metric)


def transfer(scorecard: Scorecard, trained: Mapping[str, str]) -> Transfer | None:
    """Return what stages did to each other's tasks; `trained` gives each stage's task, in the order of training.

    None where fewer than two tasks were trained, or their scores cannot be compared.
    """
    stages = list(trained)
    first = {task: stages.index(stage) for stage, task in reversed(list(trained.items()))}
    last = {task: stages.index(stage) for stage, task in trained.items()}
    metrics = shared_metrics(scorecard, last)
    earlier = [task for task, place in last.items() if place < len(stages) - 1]
    later = [task for task, place in first.items() if place > 0]
    if metrics is None or not earlier or not later:
        return None
    end = stages[-1]
    kept = [Step(task, stages[last[task]], end) for task in earlier]
    ahead = [Step(task, BEFORE, stages[first[task] - 1]) for task in later]
    lost = {task: Step(task, end, _best(scorecard, stages[:-1], task, metrics[task])) for task in earlier}
    backward, forward = (mean_gain(scorecard, steps, metrics) for steps in (kept, ahead))
    forgetting = mean_gain(scorecard, list(lost.values()), metrics)
    by_task = {task: mean_gain(scorecard, [step], metrics) for task, step in lost.items()}
    if backward is None or forward is None or forgetting is None:
        return None
    forgotten = {task: interval for task, interval in by_task.items() if interval is not None}
    return Transfer(backward, forward, forgetting, forgotten, metrics, {task: step.late for task, step in lost.items()})


def _best(scorecard: Scorecard, stages: Sequence[str], task: str, metric: str) -> str:
    """Return the stage with the task's best score, the earliest of equals."""

    def value(stage: str) -> float:
        measure = _measure(scorecard, stage, task, metric)
        if measure is None:
            return float("-inf")
        return measure.worth

    return max(stages, key=value)
