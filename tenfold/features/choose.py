"""Which estimator on which features is best, by cross-validation on the training rows alone.

Rows of one group never stand on both sides of a fold, and classes are spread evenly over folds. All candidates meet the
same folds. The test rows are not looked at.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold

from tenfold.errors import DataError, Problem, RunFailure
from tenfold.features.estimators import Form, Wish, make_estimator
from tenfold.features.views import View

Fold = tuple[np.ndarray, np.ndarray]
"""Places of the rows to fit to, and of those to score on."""


@dataclass(frozen=True)
class Targets:
    """What is to be learned: [N] class numbers, [N, C] zeros and ones, or [N] numbers; C is `num_outputs`."""

    form: Form
    values: np.ndarray
    num_outputs: int

    def take(self, places: np.ndarray) -> Targets:
        """Return the targets of the rows at `places`."""
        return Targets(self.form, self.values[places], self.num_outputs)


@dataclass(frozen=True)
class Candidate:
    """An estimator on a view of the features: its score in each fold (more is better), none where it failed."""

    wish: Wish
    view: View
    scores: tuple[float, ...]
    seconds: float
    note: str = ""
    """What scikit-learn warned of, or why it failed."""

    @property
    def mean(self) -> float:
        """The mean score over folds; minus infinity where it failed."""
        return float(np.mean(self.scores)) if self.scores else -np.inf

    @property
    def content(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return {
            "estimator": self.wish.name,
            "options": dict(self.wish.options),
            "layers": list(self.view.layers),
            "pooling": self.view.pooling,
            "mean": self.mean if self.scores else None,
            "scores": list(self.scores),
            "seconds": self.seconds,
            "note": self.note,
        }


@dataclass(frozen=True)
class Trials:
    """How candidates are tried: the same `folds` and seed for all; `score(wanted, answered)`, more is better."""

    folds: Sequence[Fold]
    score: Callable[[np.ndarray, np.ndarray], float]
    standardise: bool
    seed: int

    def of(
        self, wishes: Sequence[Wish], views: Sequence[View], matrix: Callable[[View], np.ndarray], targets: Targets
    ) -> Iterator[Candidate]:
        """Yield every wish on every view, tried."""
        for view in views:
            rows = matrix(view)
            for wish in wishes:
                yield self._tried(wish, view, rows, targets)

    def _tried(self, wish: Wish, view: View, rows: np.ndarray, targets: Targets) -> Candidate:
        started = time.perf_counter()
        scores: list[float] = []
        notes: dict[str, int] = {}
        for fit, judge in self.folds:
            estimator = make_estimator(wish, targets.form, standardise=self.standardise, seed=self.seed)
            try:
                with noted(notes):
                    estimator.fit(rows[fit], targets.values[fit])
                    scores.append(self.score(targets.values[judge], estimator.predict(rows[judge])))
            except Exception as error:  # an estimator may raise anything; the others go on
                return Candidate(wish, view, (), time.perf_counter() - started, f"failed: {first_line(error)}")
        told = "; ".join(f"{text} ({count} of {len(self.folds)} folds)" for text, count in notes.items())
        return Candidate(wish, view, tuple(scores), time.perf_counter() - started, told)


def best_of(candidates: Sequence[Candidate]) -> Candidate:
    """Return the candidate with the best mean; of equals the first.

    Raises:
        RunFailure: all failed.
    """
    best = max(candidates, key=lambda candidate: candidate.mean)
    if not best.scores:
        raise RunFailure(
            *(
                Problem(each.wish.text, f"{each.view.name}: {each.note}", remedy="see `estimators`")
                for each in candidates
            )
        )
    return best


def make_folds(targets: Targets, groups: np.ndarray, *, count: int, seed: int) -> list[Fold]:
    """Return `count` folds that share no group, with classes spread evenly; equal for equal seeds.

    Raises:
        DataError: there are fewer groups than folds, or no class has a row for each.
    """
    num_groups = len(np.unique(groups))
    if num_groups < count:
        found = f"{len(groups)} training rows in {num_groups} groups cannot make {count} folds"
        raise DataError(Problem("technique.folds", found, f"at most {num_groups}", "lower it, or add rows"))
    most = int(np.bincount(targets.values).max()) if targets.form == "class" else count
    if most < count:
        found = f"no class has more than {most} training rows, which cannot be spread over {count} folds"
        allowed = f"at most {most}" if most > 1 else ""
        raise DataError(Problem("technique.folds", found, allowed, "lower it, or add rows"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class with fewer rows than folds: its rows go where they can
        if targets.form != "class":
            splitter = GroupKFold(count, shuffle=True, random_state=seed % 2**32)
        elif num_groups == len(groups):
            splitter = StratifiedKFold(count, shuffle=True, random_state=seed % 2**32)
        else:
            splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed % 2**32)
        return list(splitter.split(np.zeros(len(groups)), targets.values, groups))


@contextmanager
def noted(notes: dict[str, int]) -> Iterator[None]:
    """Count each warning inside the block in `notes`, by its first line, instead of showing it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for text in {str(each.message).strip().splitlines()[0][:120] for each in caught}:
                notes[text] = notes.get(text, 0) + 1


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or what it is."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
