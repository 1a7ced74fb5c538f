"""What was measured, when, on what? Stage by task by measure; row 0 is `before`, the model as it came.

Values are kept item by item, so every interval and every paired test can be made again from the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tenfold.errors import ArtifactError, Problem
from tenfold.evaluation.pooled import Statistics, pooled_draws, pooled_interval, pooled_ratio, pooled_test, pooled_value
from tenfold.evaluation.statistics import (
    Draws,
    Interval,
    PairedTest,
    bootstrap,
    difference_draws,
    opened_at_end,
    paired_ratio,
    paired_test,
)

BEFORE = "before"
"""The name of row 0: the model before any training."""

RETENTION = "retention"
"""The name of the task that measures what training cost elsewhere; it is no task of the recipe's."""

_FORMAT = 1


ALIKE = {"exact_match": "accuracy"}
"""Metrics that are another's equal where both ask for the same rows: a label that was written, or chosen."""


def quantity_of(metric: str) -> str:
    """Return what `metric` measures: its own name, or that of a metric which is its equal."""
    return ALIKE.get(metric, metric)


@dataclass(frozen=True)
class Measure:
    """One measured quantity: a value for each item, and what each item weighs (all alike when `None`).

    What is no mean over items (macro F1, calibration) keeps each item's `statistics` in place of a value, and names in
    `aggregation` how they are pooled (`tenfold/evaluation/pooled.py`).
    """

    name: str
    unit: str
    higher_is_better: bool
    items: tuple[float, ...]
    weights: tuple[float, ...] | None = None
    aggregation: str = "mean"
    statistics: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def pooled(cls, name: str, statistics: Statistics, *, by: str, unit: str, higher_is_better: bool = True) -> Measure:
        """Return the measure of the quantity `by` over items with these `statistics`."""
        kept = tuple(tuple(map(float, item)) for item in statistics)
        return cls(name, unit, higher_is_better, (), aggregation=by, statistics=kept)

    @property
    def quantity(self) -> str:
        """What is measured: measures of one quantity over the same items may be compared."""
        return quantity_of(self.name)

    @property
    def title(self) -> str:
        """The name as a reader takes it: `response loss`."""
        return self.name.replace("_", " ")

    @property
    def num_items(self) -> int:
        """How many items were measured."""
        return len(self.items or self.statistics)

    @property
    def value(self) -> float:
        """The (weighted) mean over the items, or what their statistics come to."""
        if self.aggregation != "mean":
            return pooled_value(self.aggregation, self.statistics)
        weights = self.weights or (1.0,) * len(self.items)
        return sum(map(float.__mul__, self.items, weights)) / sum(weights)

    @property
    def worth(self) -> float:
        """The value turned so that more is better."""
        return self.value if self.higher_is_better else -self.value

    @property
    def interval(self) -> Interval:
        """The value with its 95 % bootstrap interval over items; the same at every call."""
        if self.aggregation != "mean":
            return pooled_interval(self.aggregation, self.statistics)
        interval = bootstrap(self.items, weights=self.weights)
        return opened_at_end(interval, len(self.items)) if self.unit == "share" else interval

    def take(self, places: Sequence[int]) -> Measure:
        """Return the measure of the items at `places` alone, in their order."""
        return replace(
            self,
            items=tuple(self.items[place] for place in places) if self.items else (),
            weights=None if self.weights is None else tuple(self.weights[place] for place in places),
            statistics=tuple(self.statistics[place] for place in places) if self.statistics else (),
        )

    def change_to(self, later: Measure) -> PairedTest:
        """Return the change from this measure to a later one of the same items."""
        assert (self.weights, self.aggregation) == (later.weights, later.aggregation), "the same items weigh the same"
        if self.aggregation != "mean":
            return pooled_test(self.aggregation, self.statistics, later.statistics)
        return paired_test(self.items, later.items, weights=self.weights)

    def ratio_to(self, other: Measure) -> Interval | None:
        """Return this value over `other`'s, of the same items, with its interval; None where that is not above 0."""
        assert (self.weights, self.aggregation) == (other.weights, other.aggregation), "the same items weigh the same"
        if self.aggregation != "mean":
            return pooled_ratio(self.aggregation, self.statistics, other.statistics)
        return paired_ratio(self.items, other.items, weights=self.weights)

    def draws_to(self, later: Measure, *, seed: int) -> Draws:
        """Return the same change with what each resample of the items makes of it, to be averaged with others."""
        assert (self.weights, self.aggregation) == (later.weights, later.aggregation), "the same items weigh the same"
        if self.aggregation != "mean":
            return pooled_draws(self.aggregation, self.statistics, later.statistics, seed=seed)
        return difference_draws(self.items, later.items, weights=self.weights, seed=seed)


@dataclass(frozen=True)
class Score:
    """What one task measured at one stage; the first measure is the task's own metric.

    `cut` tells for each prediction whether it stopped at the longest answer allowed instead of at an end.
    """

    stage: str
    task: str
    measures: dict[str, Measure]
    predictions: tuple[str, ...] = ()
    cut: tuple[bool, ...] = ()

    @property
    def primary(self) -> Measure:
        """The task's own metric, by which checkpoints are chosen."""
        return next(iter(self.measures.values()))

    def to_json(self) -> dict[str, Any]:
        """Return the score as plain values; `from_json` gives an equal one back, to the last bit."""
        return {**asdict(self), "measures": [asdict(measure) for measure in self.measures.values()]}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Score:
        """Return the score that `to_json` gave."""
        measures = [
            Measure(
                name=measure["name"],
                unit=measure["unit"],
                higher_is_better=measure["higher_is_better"],
                items=tuple(measure["items"]),
                weights=None if measure["weights"] is None else tuple(measure["weights"]),
                aggregation=measure.get("aggregation", "mean"),
                statistics=tuple(map(tuple, measure.get("statistics", ()))),
            )
            for measure in tree["measures"]
        ]
        return cls(
            stage=tree["stage"],
            task=tree["task"],
            measures={measure.name: measure for measure in measures},
            predictions=tuple(tree["predictions"]),
            cut=tuple(tree.get("cut", ())),  # artifacts of the first version do not tell
        )


@dataclass(frozen=True)
class Change:
    """What became of one measure between two stages."""

    task: str
    metric: str
    higher_is_better: bool
    test: PairedTest

    @property
    def is_better(self) -> bool:
        """Whether the change is clear and in the wanted direction."""
        return self.test.verdict == ("rose" if self.higher_is_better else "fell")

    @property
    def is_worse(self) -> bool:
        """Whether the change is clear and against the wanted direction."""
        return self.test.verdict == ("fell" if self.higher_is_better else "rose")

    def rules_out_loss(self, margin: float) -> bool:
        """Whether a change for the worse by more than `margin` is outside the interval."""
        interval = self.test.difference
        worst = interval.low if self.higher_is_better else -interval.high
        return worst > -margin and self.test.can_be_clear

    @property
    def figure(self) -> str:
        """The change in words: `exact match +0.120 [+0.051, +0.194]`."""
        return f"{self.metric.replace('_', ' ')} {self.test.difference.signed}"


@dataclass(frozen=True)
class Scorecard:
    """All scores of a run in the order they were taken; it grows by `add`, which gives a new one."""

    scores: tuple[Score, ...] = field(default=())

    def add(self, score: Score) -> Scorecard:
        """Return the scorecard with one more score; a stage scores a task once."""
        assert self.score(score.stage, score.task) is None, f"{score.stage} has scored {score.task} already"
        return Scorecard((*self.scores, score))

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages' names in order."""
        return tuple(dict.fromkeys(score.stage for score in self.scores))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names in the order they were first scored."""
        return tuple(dict.fromkeys(score.task for score in self.scores))

    def score(self, stage: str, task: str) -> Score | None:
        """Return the task's score at the stage, or `None` if it was not taken."""
        return next((score for score in self.scores if (score.stage, score.task) == (stage, task)), None)

    def change(self, task: str, metric: str, *, before: str = BEFORE, after: str | None = None) -> Change | None:
        """Return what became of a measure from one stage to another (the last).

        `None` if one lacks it, or weighs its items otherwise: tokens of another tokenizer cannot be paired.
        """
        early = self.score(before, task)
        late = self.score(after or self.stages[-1], task) if self.scores else None
        if early is None or late is None or metric not in early.measures or metric not in late.measures:
            return None
        first, second = early.measures[metric], late.measures[metric]
        if first.weights != second.weights:
            return None
        return Change(task, metric, first.higher_is_better, first.change_to(second))

    def task_change(self) -> Change | None:
        """Return what became of the first task's own metric from row 0 to the last stage, if there is one."""
        task = next((task for task in self.tasks if task != RETENTION), None)
        return None if task is None else self.primary_change(task)

    def primary_change(self, task: str, *, before: str = BEFORE, after: str | None = None) -> Change | None:
        """Return what became of a task's own metric from one stage to another (the last), if both have it."""
        first = self.score(before, task)
        return None if first is None else self.change(task, first.primary.name, before=before, after=after)

    def differences(self, before: str = BEFORE, after: str | None = None) -> dict[tuple[str, str], Change]:
        """Return the change of every measure that both stages have, by (task, measure)."""
        pairs = [(score.task, name) for score in self.scores if score.stage == before for name in score.measures]
        changes = {pair: self.change(*pair, before=before, after=after) for pair in pairs}
        return {pair: change for pair, change in changes.items() if change is not None}

    def to_json(self) -> dict[str, Any]:
        """Return the scorecard as plain values; `from_json` gives an equal one back, to the last bit."""
        return {"format": _FORMAT, "scores": [score.to_json() for score in self.scores]}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any], *, where: str = "scorecard.json") -> Scorecard:
        """Return the scorecard that `to_json` gave.

        Raises:
            ArtifactError: something is missing from it, or its format is another one.
        """
        try:
            found = tree["format"]
            if found == _FORMAT:
                return cls(tuple(Score.from_json(score) for score in tree["scores"]))
        except (KeyError, TypeError) as error:
            raise _refused(where, f"not a scorecard ({error!r})", "run the recipe again") from None
        raise _refused(where, f"format {found!r}", "open it with the version that wrote it")


def _refused(where: str, found: str, remedy: str) -> ArtifactError:
    return ArtifactError(Problem(where, found, allowed=f"a scorecard of format {_FORMAT}", remedy=remedy))
