"""Where are entries good and where not? By task or language, by class, and which classes are taken for which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from tenfold.artifact import Artifact
from tenfold.compare.comparison import Comparison
from tenfold.compare.judged import Judged, judged
from tenfold.compare.kept import averaged, can_be_averaged
from tenfold.compare.report.subjects import Subject
from tenfold.compare.verdict import listed
from tenfold.evaluation.scorecard import RETENTION, Measure, Score
from tenfold.evaluation.scorecard_view import interval_text

MOST_CLASSES = 30
MOST_CONFUSED = 12
"""A table of more classes than that cannot be read."""


@dataclass(frozen=True)
class Cell:
    """A figure and how deep its background is, from 0 to 10; `is_best` of its row, `detail` its interval."""

    text: str
    depth: int = 0
    is_best: bool = False
    value: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Table:
    """A table of cells: a name and a cell a column in each row."""

    corner: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    note: str = ""


def by_task(subjects: Sequence[Subject]) -> Table | None:
    """Return the own metric of each task by entry, as its last score has it; None where there is one task.

    A task that one of several entries alone has says nothing of which to pick.
    """
    scored = [dict.fromkeys(task for run in each.entry.runs for task in run.scorecard.tasks) for each in subjects]
    shared = Counter(task for tasks in scored for task in tasks if task != RETENTION)
    names = [task for task, count in shared.items() if count >= min(2, len(subjects))]
    if len(names) < 2:
        return None
    note = (
        "Intervals are over rows, of the mean over seeds; a figure pooled over rows has none where there are several."
    )
    return Table("task", [each.rank for each in subjects], [_task_row(subjects, task) for task in names], note)


def _task_row(subjects: Sequence[Subject], task: str) -> tuple[str, list[Cell]]:
    measured = {
        each.place: [score.primary for run in each.entry.runs if (score := _last(run, task)) is not None]
        for each in subjects
    }
    first, cells = _cells(subjects, measured)
    less = "" if first.higher_is_better else ", less is better"
    return f"{task.replace('_', ' ')} ({first.title}, {first.num_items:,} rows{less})", cells


def by_slice(comparison: Comparison, subjects: Sequence[Subject]) -> Table | None:
    """Return what is ranked by the values of the column `slice_by`, commonest first; None where none was named."""
    judged = {each.place: [found for found in each.entry.judged() if found.rows] for each in subjects}
    asked = next((found.rows for each in judged.values() for found in each), ())
    counts = Counter(value for row in asked if (value := comparison.slices.get(row["prompt"])) is not None)
    rows = []
    for value, count in counts.most_common(MOST_CLASSES):
        places = [place for place, row in enumerate(asked) if comparison.slices.get(row["prompt"]) == value]
        measured = {place: [found.measure.take(places) for found in each] for place, each in judged.items()}
        rows.append((f"{value} ({count:,} rows)", _cells(subjects, measured)[1]))
    if not rows:
        return None
    first = subjects[0].measure
    less = "" if first.higher_is_better else "; less is better"
    return Table(comparison.slice_by, [each.rank for each in subjects], rows, f"{first.title}{less}")


def _cells(subjects: Sequence[Subject], measured: Mapping[int, Sequence[Measure]]) -> tuple[Measure, list[Cell]]:
    """Return one of the measures, and a cell of each entry's mean over seeds."""
    means = {place: fmean(each.value for each in measures) for place, measures in measured.items() if measures}
    first = next(measures[0] for measures in measured.values() if measures)
    best = (max if first.higher_is_better else min)(means.values())
    is_any_worse = len(set(means.values())) > 1
    cells = [
        _mean_cell(measured[each.place], means[each.place], is_best=is_any_worse and means[each.place] == best)
        if each.place in means
        else Cell("–")
        for each in subjects
    ]
    return first, cells


def _mean_cell(measures: Sequence[Measure], mean: float, *, is_best: bool) -> Cell:
    """Return the mean over seeds with its interval over rows, where there is one."""
    if len(measures) > 1 and not can_be_averaged(measures):
        return Cell(f"{mean:.2f}", 0, is_best, mean)
    interval = measures[0].interval if len(measures) == 1 else averaged(measures).interval
    figure, _, bounds = interval_text(interval).partition(" ")
    return Cell(figure, 0, is_best, mean, bounds)


def _last(run: Artifact, task: str) -> Score | None:
    found = [score for score in run.scorecard.scores if score.task == task]
    return found[-1] if found else None


Counts = Counter[tuple[str, str]]
"""How often, over all seeds, a row of one class was answered with another: (wanted, answered)."""


def answered(subject: Subject) -> dict[str, Counts]:
    """Return the counts of each task by which the entry is ranked, by name; with one such task its name is empty."""
    counts: dict[str, Counts] = {}
    for run in subject.entry.runs:
        found = judged(run, subject.entry.tasks)
        if found is None:
            continue
        for name, group in _groups(run, found, subject.entry.tasks).items():
            if _tells_classes_apart(run, group):
                rows = [row for row in found.rows if not name or row.get("task") in group]
                counts.setdefault(name, Counter()).update((row["reference"], row["after"]) for row in rows)
    return {name: each for name, each in counts.items() if each}


def _groups(run: Artifact, found: Judged, named: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return which of the judged tasks have the same classes: parts of the one named task, or those of one head."""
    if len(named) < 2:
        return {"": found.tasks}
    groups: dict[str, list[str]] = {}
    for task in found.tasks:
        section = run.recipe.tasks.get(task)
        groups.setdefault((section and section.head) or task, []).append(task)
    return {listed(tasks): tasks for tasks in groups.values()}


def _tells_classes_apart(run: Artifact, tasks: Sequence[str]) -> bool:
    return all(run.facts["tasks"].get(task, {}).get("kind") == "classification" for task in tasks)


def by_class(subjects: Sequence[Subject]) -> dict[str, Table]:
    """Return F1 of each class by entry, commonest class first: a table a task, none where rows have no classes."""
    found = {each.place: answered(each) for each in subjects}
    names = dict.fromkeys(name for counts in found.values() for name in counts)
    return {
        name: _class_table(subjects, {place: counts[name] for place, counts in found.items() if name in counts})
        for name in names
    }


def _class_table(subjects: Sequence[Subject], counts: Mapping[int, Counts]) -> Table:
    first = next(iter(counts.values()))
    seeds = {each.place: len(each.entry.runs) for each in subjects}
    support = Counter({name: 0 for found in counts.values() for pair in found for name in pair})
    for (wanted, _), count in first.items():
        support[wanted] += count
    one = seeds[next(iter(counts))]
    classes = [name for name, _ in support.most_common(MOST_CLASSES) if support[name]]
    rows = []
    for name in classes:
        scores = {place: f1(found, name) for place, found in counts.items()}
        best = max(scores.values())
        cells = [
            _score_cell(scores[each.place], is_best=scores[each.place] == best > 0)
            if each.place in scores
            else Cell("–")
            for each in subjects
        ]
        rows.append((f"{name} ({support[name] // one:,} rows)", cells))
    left = len([name for name in support if support[name]]) - len(classes)
    note = f"{left} rarer classes are left out." if left else ""
    return Table("class", [each.rank for each in subjects], rows, note)


def _score_cell(score: float, *, is_best: bool) -> Cell:
    return Cell(f"{score:.2f}", round(10 * score), is_best, score)


def f1(counts: Counts, name: str) -> float:
    """Return 2 found / (2 found + spurious + missed) of one class, 0 where nothing was found."""
    found = counts[name, name]
    spurious = sum(count for (_, answer), count in counts.items() if answer == name) - found
    missed = sum(count for (wanted, _), count in counts.items() if wanted == name) - found
    return 2 * found / (2 * found + spurious + missed) if found else 0.0


def confusions(subjects: Sequence[Subject]) -> Iterator[tuple[Subject, str, Table]]:
    """Yield for each entry and task which share of a class's rows was answered how, where classes are few enough."""
    for subject in subjects:
        for task, counts in answered(subject).items():
            names = sorted({name for pair in counts for name in pair})
            if 2 <= len(names) <= MOST_CONFUSED:
                rows = [(wanted, _shares(counts, wanted, names)) for wanted in names]
                yield subject, task, Table("is ↓ was answered → (% of its rows)", names, rows)


def _shares(counts: Counts, wanted: str, names: Sequence[str]) -> list[Cell]:
    total = sum(counts[wanted, other] for other in names)
    shares = [counts[wanted, other] / total if total else 0.0 for other in names]
    return [Cell(f"{100 * part:.0f}" if part else "", round(10 * part), value=part) for part in shares]
