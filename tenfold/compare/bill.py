"""What did an entry cost? Over its seeds: the mean of what each run took, and the search as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from tenfold.artifact import Artifact
from tenfold.compare.beforehand import beforehand
from tenfold.compare.comparison import Entry
from tenfold.teaching.serving import SERVING, read_timings


@dataclass(frozen=True)
class Bill:
    """The cost of one entry; sizes are in bytes."""

    train_seconds: float
    """The mean over the runs."""
    search_seconds: float
    """All of the search, which is made once."""
    before_seconds: float | None
    """Training of what had to be there before, such as a teacher: 0 where nothing had, None where it is not known."""
    peak_memory_bytes: float
    """The largest of any run."""
    bytes_on_disk: float
    trainable_share: float
    answer_seconds: float | None
    """For one answer, where that was timed."""

    @property
    def seconds(self) -> float | None:
        """Training of one run, with the search and all that was trained before it; None where that is not known."""
        return None if self.before_seconds is None else self.train_seconds + self.search_seconds + self.before_seconds


def bill_of(entry: Entry) -> Bill:
    """Return what the entry cost; it has a finished run."""
    costs = [run.cost for run in entry.runs]
    answers = [seconds for run in entry.runs if (seconds := _answer_seconds(run)) is not None]
    before = beforehand(entry.runs[0].recipe)
    return Bill(
        train_seconds=fmean(cost.train_seconds for cost in costs),
        search_seconds=sum(tried.seconds for tried in entry.search),
        before_seconds=0.0 if before is None else before.seconds,
        peak_memory_bytes=max(cost.peak_memory_bytes for cost in costs),
        bytes_on_disk=fmean(cost.bytes_on_disk for cost in costs),
        trainable_share=fmean(cost.trainable_share for cost in costs),
        answer_seconds=fmean(answers) if answers else None,
    )


def _answer_seconds(run: Artifact) -> float | None:
    """Return what an answer of the saved model takes; others that were timed stand before it."""
    timings = read_timings(run.folder)
    score = timings.score(timings.stages[-1], SERVING) if timings.stages else None
    measure = None if score is None else score.measures.get("answer_seconds")
    return None if measure is None else measure.value
