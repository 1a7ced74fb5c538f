"""By what is a run ranked? Its tasks' own metrics as one measure, of rows that other runs answered too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from tenfold.artifact import Artifact
from tenfold.compare.ranking import chance_centred
from tenfold.evaluation.scorecard import RETENTION, Measure, Score
from tenfold.files import sha256_text

Row = Mapping[str, str]


@dataclass(frozen=True)
class Judged:
    """What a run came to, on the tasks by which it is ranked."""

    tasks: tuple[str, ...]
    """The run's own names of them."""
    measure: Measure
    rows: tuple[Row, ...]
    """Prompt, reference and answers of each item, in the measure's order; none where no answers were kept."""
    marks: Mapping[str, str]
    """Hashes of what it was asked, by kind: runs with one of them in common were asked the same."""

    def is_of_the_rows_of(self, other: Judged) -> bool:
        """Whether both were scored on the same rows."""
        return bool(self.marks.items() & other.marks.items())


def judged(run: Artifact, tasks: Sequence[str]) -> Judged | None:
    """Return what the run's last stage came to on `tasks`; on its first one where none is named, None without scores.

    *Several tasks* count alike: the mean of their metrics, each moved so that chance is 0 (see `chance_centred`). Where
    their metrics are no means, or not all better when higher, the first task alone counts.

    *Tasks of other names* stand for one named task if there is but one: a run that took it apart, by language for
    instance, is judged by all of its rows together.
    """
    last = {score.task: score for score in run.scorecard.scores if score.task != RETENTION}
    if not last:
        return None
    named = tuple(tasks) or (next(iter(last)),)
    if all(task in last for task in named):
        parts = [_of_task(run, last[task]) for task in named]
        return _mean_of(parts) if len(parts) > 1 and all(map(_can_be_averaged, parts)) else parts[0]
    return _pooled([_of_task(run, score) for score in last.values()]) if len(named) == 1 else None


def difference(first: Judged, other: Judged) -> str:
    """Return how what the other measured differs from what the first did; nothing where both can be compared."""
    known, own = first.measure, other.measure
    if own.quantity != known.quantity:
        return f"scored by {own.title}, not {known.title}"
    if own.num_items != known.num_items:
        return f"scored on {own.num_items:,} rows, not {known.num_items:,}"
    if own.weights != known.weights:
        return f"rows weigh otherwise in its {own.title}, as those of another tokenizer do"
    return "" if other.is_of_the_rows_of(first) else "scored on other test rows"


def chance_of(measure: Measure, references: Sequence[str]) -> float:
    """Return what guessing one of the K answers that rows have earns: 1 / K of accuracy and exact matches, else 0."""
    return 1 / len(set(references)) if measure.quantity == "accuracy" and len(set(references)) > 1 else 0.0


def _of_task(run: Artifact, score: Score) -> Judged:
    """Return what one task came to, its rows ordered by what they ask: the order in which files had them may differ."""
    rows = [row for row in run.generations if row.get("task", score.task) == score.task]
    marks = {}
    side = run.provenance["data"].get(score.task, {}).get("test")
    if side is not None:
        is_all = side["rows"] == score.primary.num_items
        # where not all rows were scored, the seed chose which
        marks["rows"] = sha256_text(side["sha256"], "all" if is_all else f"seed {run.recipe.runtime.seed}")
    return _in_order((score.task,), score.primary, rows, marks)


def _in_order(tasks: tuple[str, ...], measure: Measure, rows: Sequence[Row], marks: Mapping[str, str]) -> Judged:
    if len(rows) != measure.num_items:
        return Judged(tasks, measure, (), marks)
    order = sorted(range(len(rows)), key=lambda place: (rows[place]["prompt"], rows[place]["reference"]))
    ordered = tuple(rows[place] for place in order)
    asked = sha256_text(*(row[key] for row in ordered for key in ("prompt", "reference")))
    return Judged(tasks, measure.take(order), ordered, {**marks, "asked": asked})


def _pooled(parts: Sequence[Judged]) -> Judged | None:
    """Return all rows of the parts as those of one task; None where they were scored by different metrics."""
    measures = [part.measure for part in parts]
    kinds = {(each.name, each.aggregation, each.higher_is_better, each.weights is None) for each in measures}
    if len(kinds) > 1 or not all(part.rows for part in parts):
        return None
    whole = replace(
        measures[0],
        items=tuple(item for each in measures for item in each.items),
        weights=None if measures[0].weights is None else tuple(w for each in measures for w in each.weights or ()),
        statistics=tuple(item for each in measures for item in each.statistics),
    )
    tasks = tuple(task for part in parts for task in part.tasks)
    return _in_order(tasks, whole, [row for part in parts for row in part.rows], {})


def _can_be_averaged(part: Judged) -> bool:
    return part.measure.aggregation == "mean" and part.measure.higher_is_better and bool(part.rows)


def _mean_of(parts: Sequence[Judged]) -> Judged:
    """Return the mean over tasks: each item weighs so much that every task counts alike."""
    items: list[float] = []
    weights: list[float] = []
    for part in parts:
        own = part.measure.weights or (1.0,) * part.measure.num_items
        chance = chance_of(part.measure, [row["reference"] for row in part.rows])
        items += [chance_centred(item, chance=chance) for item in part.measure.items]
        weights += [weight / sum(own) for weight in own]
    mean = fmean(weights)
    measure = Measure(
        f"mean_of_{len(parts)}_tasks", "share above chance", True, tuple(items), tuple(each / mean for each in weights)
    )
    kinds = [kind for kind in parts[0].marks if all(kind in part.marks for part in parts)]
    return Judged(
        tuple(task for part in parts for task in part.tasks),
        measure,
        tuple(row for part in parts for row in part.rows),
        {kind: sha256_text(*(part.marks[kind] for part in parts)) for kind in kinds},
    )
