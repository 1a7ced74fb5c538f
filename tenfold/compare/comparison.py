"""What a comparison is once its runs are there: an entry for each way to fine-tune, with a run for each seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tenfold.artifact import Artifact
from tenfold.evaluation.scorecard import RETENTION, Measure, Score


@dataclass(frozen=True)
class Tried:
    """A learning rate of the search, and what it came to on validation rows."""

    learning_rate: float
    value: float
    seconds: float


@dataclass(frozen=True)
class Entry:
    """One way to fine-tune: its finished runs, one a seed, and what became of those that did not finish."""

    name: str
    runs: tuple[Artifact, ...] = ()
    failures: tuple[str, ...] = ()
    """Why a run failed, for each that did."""
    note: str = ""
    """What a reader of its row should know, such as that it was given fewer seeds than others, and by which rule."""
    search: tuple[Tried, ...] = ()

    def scores(self) -> list[Score]:
        """Return what each run's last stage scored on the first task."""
        return [score for run in self.runs if (score := last_score(run)) is not None]

    def measures(self) -> list[Measure]:
        """Return the task's own metric as each run's last stage measured it, all of the same items."""
        return [score.primary for score in self.scores()]


@dataclass(frozen=True)
class Comparison:
    """All entries, and the terms under which they were made."""

    title: str
    entries: tuple[Entry, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    """Which ways do not apply to these rows and this model, and why."""
    rules: tuple[str, ...] = ()
    """The terms, a sentence each: the split, the budget and what binds it, the search, the seeds, the tests."""


def last_score(artifact: Artifact) -> Score | None:
    """Return what the artifact's last stage scored on its first task, None where nothing was."""
    card = artifact.scorecard
    task = next((task for task in card.tasks if task != RETENTION), None)
    found = [score for score in card.scores if score.task == task]
    return found[-1] if found else None
