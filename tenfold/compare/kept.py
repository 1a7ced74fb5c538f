"""What did an entry keep of what the model knew? General text and knowledge before and after, over its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from tenfold.artifact import Artifact
from tenfold.compare.comparison import Entry
from tenfold.evaluation.scorecard import BEFORE, RETENTION, Change, Measure, Score

GENERAL_TEXT = "general_bits_per_byte"


@dataclass(frozen=True)
class Kept:
    """One measure before and after, each the mean over seeds item by item, and what became of it."""

    before: Measure
    after: Measure
    change: Change


def kept(entry: Entry, metric: str) -> Kept | None:
    """Return what became of `metric` of the retention set; None where a run of the entry did not measure it.

    Intervals are over items: how much another seed would have changed is in the mean, not in its bounds.
    """
    early, late = [], []
    for run in entry.runs:
        first, last = run.scorecard.score(BEFORE, RETENTION), _after(run)
        if first is None or last is None or metric not in first.measures or metric not in last.measures:
            return None
        early.append(first.measures[metric])
        late.append(last.measures[metric])
    if not early or not can_be_averaged([*early, *late]):
        return None
    before, after = averaged(early), averaged(late)
    return Kept(before, after, Change(RETENTION, metric, before.higher_is_better, before.change_to(after)))


def _after(run: Artifact) -> Score | None:
    """Return what was kept by what was saved; stages after it may only have chosen thresholds, others were compared."""
    card = run.scorecard
    stages = [stage for stage in card.stages if stage in run.lineage.saved or stage == card.stages[-1]]
    found = [score for stage in stages if stage != BEFORE and (score := card.score(stage, RETENTION)) is not None]
    return found[-1] if found else None


def retention_metrics(entries: Sequence[Entry]) -> list[str]:
    """Return the names of all that any of the entries measured of what was kept."""
    scores = [score for entry in entries for run in entry.runs for score in run.scorecard.scores]
    return list(dict.fromkeys(name for score in scores if score.task == RETENTION for name in score.measures))


def can_be_averaged(measures: Sequence[Measure]) -> bool:
    """Whether all are means over as many items that weigh the same."""
    kinds = {(each.aggregation, each.weights, len(each.items)) for each in measures}
    return len(kinds) == 1 and measures[0].aggregation == "mean"


def averaged(measures: Sequence[Measure]) -> Measure:
    """Return the measure whose items are the means over `measures`, which are means over the same items."""
    return replace(measures[0], items=tuple(map(fmean, zip(*(each.items for each in measures), strict=True))))
