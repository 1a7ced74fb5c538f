"""Who is in the report: each entry that was scored, with its place, its score and its bill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tenfold.compare.bill import Bill, bill_of
from tenfold.compare.comparison import Comparison, Entry
from tenfold.compare.judged import Judged
from tenfold.compare.ranking import Standing
from tenfold.compare.report.charts import Axis
from tenfold.compare.report.figures import number, shown
from tenfold.compare.report.scales import over
from tenfold.compare.verdict import plain
from tenfold.evaluation.scorecard import Measure


@dataclass(frozen=True)
class Subject:
    """An entry that was scored; `place` counts from 0, the best."""

    entry: Entry
    standing: Standing
    bill: Bill
    place: int

    @property
    def name(self) -> str:
        """The name as people write it."""
        return shown(plain(self.entry.name), limit=120)

    @property
    def rank(self) -> str:
        """The place as people count; it marks the entry in every chart."""
        return str(self.place + 1)

    @cached_property
    def judged(self) -> Judged:
        """What its first run came to on the tasks by which it is ranked."""
        return self.entry.judged()[0]

    @property
    def measure(self) -> Measure:
        """What it was scored by."""
        return self.judged.measure


def subjects_of(comparison: Comparison, standings: Sequence[Standing]) -> list[Subject]:
    """Return the entries that were scored, best first."""
    entries = {entry.name: entry for entry in comparison.entries}
    return [
        Subject(entries[standing.name], standing, bill_of(entries[standing.name]), place)
        for place, standing in enumerate(standings)
    ]


def score_axis(subjects: Sequence[Subject]) -> Axis:
    """Return the axis of all scores and their intervals, on which better is always further on."""
    measure = subjects[0].measure
    intervals = [subject.standing.score for subject in subjects if subject.standing.is_defined]
    values = [bound for each in intervals for bound in (each.low, each.high, each.mean)]
    bounds = (0.0, 1.0) if measure.unit == "share" else None
    scale = over(values, is_reversed=not measure.higher_is_better, bounds=bounds)
    less = "" if measure.higher_is_better else " (less is better: the axis is turned)"
    return Axis(scale, f"{measure.title}{less}", number)
