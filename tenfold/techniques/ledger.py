"""What a run has found and what that took: scores, timings, results of stages, reports."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tenfold.engine.stage import StageResult
from tenfold.evaluation.scorecard import Score, Scorecard


class Ledger:
    """The part of a run that only grows; every entry is made by a method."""

    def __init__(self) -> None:
        self.scorecard = Scorecard()
        self.timings = Scorecard()
        """What was timed, stage by stage: apart from the scorecard, since no two runs give the same figures."""
        self.results: list[StageResult] = []
        """Those of stages and fits, in the order of training, with those that were trained to be compared with."""
        self.fitted: dict[str, Path] = {}
        """For each task that an estimator was fitted to, the folder of what was made."""
        self.reported: dict[str, object] = {}
        """What the technique found worth telling, as plain JSON values by name; kept with the artifact."""
        self.evaluation_seconds = 0.0
        self.wants_merged = False

    def record(self, score: Score) -> None:
        """Add a score of the technique's own, beside those of the recipe's tasks."""
        self.scorecard = self.scorecard.add(score)

    def report(self, name: str, value: object) -> None:
        """Keep `value` (plain JSON values) under `name` in the artifact, and show it with the scores."""
        self.reported[name] = value

    def keep_timings(self, scores: Iterable[Score]) -> None:
        """Add what was timed."""
        self.timings = Scorecard((*self.timings.scores, *scores))

    def keep_result(self, result: StageResult) -> None:
        """Add what training a stage came to."""
        self.results.append(result)

    def keep_fit(self, task: str, folder: Path, result: StageResult) -> None:
        """Add what was fitted to `task`, which lies in `folder`."""
        self.fitted[task] = folder
        self.keep_result(result)

    def spend(self, seconds: float) -> None:
        """Count `seconds` of scoring or timing among the run's costs."""
        self.evaluation_seconds += seconds

    def take_over(self, beside: Ledger) -> None:
        """Add the scores, results and costs of a run on another model, trained to be compared with."""
        self.scorecard = Scorecard((*self.scorecard.scores, *beside.scorecard.scores))
        self.results += beside.results
        self.spend(beside.evaluation_seconds)

    def save_merged(self) -> None:
        """Ask that the artifact also holds the base model with the adapter merged in."""
        self.wants_merged = True
