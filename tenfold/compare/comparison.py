"""What a comparison is once its runs are there: an entry for each way to fine-tune, with a run for each seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tenfold.artifact import Artifact
from tenfold.compare.judged import Judged, judged
from tenfold.evaluation.scorecard import Measure


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
    """Why a whole run failed, for each that did: fewer seeds stand behind the score."""
    note: str = ""
    """What a reader of its row should know, such as that it was given fewer seeds than others, and by which rule."""
    search: tuple[Tried, ...] = ()
    search_failures: tuple[str, ...] = ()
    """Why a learning rate was not tried to its end, for each that was not; the score does not rest on these."""
    tasks: tuple[str, ...] = ()
    """The tasks by which it is ranked, together; when empty, each run's first one."""

    def judged(self) -> list[Judged]:
        """Return what each run came to on the tasks by which it is ranked."""
        return [found for run in self.runs if (found := judged(run, self.tasks)) is not None]

    def measures(self) -> list[Measure]:
        """Return by what each run is ranked, all of the same items."""
        return [found.measure for found in self.judged()]


@dataclass(frozen=True)
class Comparison:
    """All entries, and the terms under which they were made."""

    title: str
    entries: tuple[Entry, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    """Which ways do not apply to these rows and this model, and why."""
    rules: tuple[str, ...] = ()
    """The terms, a sentence each: the split, the budget and what binds it, the search, the seeds, the tests."""
    slice_by: str = ""
    """The column by whose values scores are told too."""
    slices: Mapping[str, str] = field(default_factory=dict)
    """What a test row has in that column, by its prompt."""


def by_reason(refused: Mapping[str, str]) -> dict[str, list[str]]:
    """Return for each reason the names of what it keeps out, so that it need be told only once."""
    reasons: dict[str, list[str]] = {}
    for name, why in refused.items():
        reasons.setdefault(why, []).append(name)
    return reasons
