"""How learning went: loss and validation by update from each run's log, and the score by the number of rows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from tenfold.artifact import Artifact
from tenfold.compare.report.charts import Axis, Series, lines
from tenfold.compare.report.figures import number
from tenfold.compare.report.scales import Scale, of_amounts, over
from tenfold.compare.report.subjects import Subject
from tenfold.compare.report.svg import NUM_COLOURS
from tenfold.engine.log import Log
from tenfold.evaluation.statistics import Interval

MOST_POINTS = 120
"""Points of one line: more cannot be seen."""

Points = list[tuple[float, float]]


@dataclass
class Learned:
    """One run's course: loss and validation metric by update, over the stages that were saved, one after another."""

    losses: Points = field(default_factory=list)
    validation: Points = field(default_factory=list)
    metric: str = ""


@dataclass(frozen=True)
class Course:
    """The charts of one entry."""

    subject: Subject
    charts: Sequence[str]


def courses(subjects: Sequence[Subject]) -> list[Course]:
    """Return the charts of every entry whose log tells of updates; stages from the store leave no lines there.

    What was measured on validation rows has one axis for all entries, a training loss its own: losses differ in kind.
    """
    found = {subject.place: [run for run in map(learned, subject.entry.runs) if run.losses] for subject in subjects}
    by_metric: dict[str, list[float]] = {}
    for run in (run for runs in found.values() for run in runs):
        by_metric.setdefault(run.metric, []).extend(value for _, value in run.validation)
    scales = {metric: over(values, bounds=_bounds(values)) for metric, values in by_metric.items() if values}
    return [
        Course(subject, _course_charts(subject, found[subject.place], scales))
        for subject in subjects
        if found[subject.place]
    ]


def learned(run: Artifact) -> Learned:
    """Return what the log tells of the stages that made what was saved."""
    by_stage: dict[str, dict[str, dict[int, tuple[float, str]]]] = {}
    for event in Log(run.folder / "log.jsonl").events():
        kind, stage, update = event.get("event"), event.get("stage"), event.get("update")
        value = event.get("loss" if kind == "update" else "value")
        if kind not in ("update", "evaluation") or not isinstance(update, int) or not isinstance(value, int | float):
            continue
        if stage in run.lineage.saved and math.isfinite(value):
            kept = by_stage.setdefault(str(stage), {"update": {}, "evaluation": {}})
            kept[str(kind)][update] = (float(value), str(event.get("metric", "")))
    course, start = Learned(), 0
    for stage in run.lineage.saved:
        kept = by_stage.get(stage, {"update": {}, "evaluation": {}})
        course.losses += [(start + update, value) for update, (value, _) in sorted(kept["update"].items())]
        course.validation += [(start + update, value) for update, (value, _) in sorted(kept["evaluation"].items())]
        course.metric = next((metric for _, metric in kept["evaluation"].values()), course.metric)
        start += max(kept["update"], default=0)
    return course


def _bounds(values: Sequence[float]) -> tuple[float, float] | None:
    """Return 0 and 1 for values that may all be shares: an axis does not go beyond them."""
    return (0.0, 1.0) if all(0 <= value <= 1 for value in values) else None


def _course_charts(subject: Subject, runs: Sequence[Learned], scales: Mapping[str, Scale]) -> list[str]:
    losses = [thinned(run.losses) for run in runs]
    last = max(run.losses[-1][0] for run in runs)
    charts = [
        _course(subject, "training loss", losses, last, over([value for points in losses for _, value in points]))
    ]
    for metric, scale in scales.items():
        measured = [run.validation for run in runs if run.metric == metric and run.validation]
        if measured:
            charts.append(_course(subject, f"validation {metric.replace('_', ' ')}", measured, last, scale))
    return charts


def _course(subject: Subject, label: str, runs: Sequence[Points], last: float, scale: Scale) -> str:
    x = Axis(Scale(0.0, max(last, 1.0)), "update", lambda value: f"{value:,.0f}")
    series = [
        Series(f"run {place + 1}", subject.place, points, is_dashed=place > 0, has_dots=len(points) <= 12)
        for place, points in enumerate(runs)
    ]
    ends = ", ".join(f"{points[0][1]:.3f} to {points[-1][1]:.3f}" for points in runs)
    told = f"From the first to the last update: {ends}."
    return lines(f"{subject.name}: {label}", told, x, Axis(scale, label, number), series)


def thinned(points: Points) -> Points:
    """Return at most `MOST_POINTS` points, each the mean of those that follow one another."""
    step = math.ceil(len(points) / MOST_POINTS)
    groups = [points[start : start + step] for start in range(0, len(points), step)]
    return [(fmean(x for x, _ in group), fmean(y for _, y in group)) for group in groups]


@dataclass(frozen=True)
class Efficiency:
    """A data-efficiency curve: what it shows, its lines by name, and the chart."""

    subject: Subject
    metric: str
    series: Sequence[Series]
    chart: str


def efficiencies(subjects: Sequence[Subject]) -> list[Efficiency]:
    """Return the data-efficiency curve of every entry that measured one."""
    found = []
    for subject in subjects:
        for metric, rows, curve in (_of_stages(subject), _of_reports(subject)):
            ways = {way: points for way, points in curve.items() if len(points) > 1}
            if ways:
                found.append(_efficiency(subject, metric, rows, ways))
    return found


Curve = dict[str, dict[int, list[float]]]
"""For each way, the scores at each number of rows."""


def _of_stages(subject: Subject) -> tuple[str, str, Curve]:
    """Return the scores of stages that were trained on so many rows, as transfer names them."""
    curve: Curve = {}
    for run in subject.entry.runs:
        for score in run.scorecard.scores:
            named = re.fullmatch(r"(pretrained|scratch)-(\d+)", score.stage)
            if named and score.task in subject.judged.tasks:
                curve.setdefault(named[1], {}).setdefault(int(named[2]), []).append(score.primary.value)
    words = {"pretrained": "from the model as it came", "scratch": "from random weights"}
    return subject.measure.title, "training rows", {words[way]: points for way, points in curve.items()}


def _of_reports(subject: Subject) -> tuple[str, str, Curve]:
    """Return the scores that a technique reported by rows a class, as feature_based names them."""
    curve: Curve = {}
    metric = subject.measure.title
    for run in subject.entry.runs:
        reported: Mapping[str, object] = run.facts["reported"]
        for name, point in reported.items():
            named = re.fullmatch(r"(\S+) of .+, (\d+) rows a class", name)
            if named is None or not isinstance(point, dict):
                continue
            metric = named[1].replace("_", " ")
            for way, values in point.items():
                if isinstance(values, list) and all(isinstance(value, int | float) for value in values):
                    by_size = curve.setdefault(str(way).replace("_", " "), {})
                    by_size.setdefault(int(named[2]), []).extend(values)
    return metric, "training rows a class", curve


def _efficiency(subject: Subject, metric: str, rows: str, curve: Curve) -> Efficiency:
    series = []
    for place, (way, points) in enumerate(curve.items()):
        sizes = sorted(points)
        means = [(float(size), fmean(points[size])) for size in sizes]
        spread = [Interval(fmean(points[size]), min(points[size]), max(points[size])) for size in sizes]
        colour_of = subject.place if place == 0 else NUM_COLOURS - 1
        series.append(Series(way, colour_of, means, is_dashed=place > 0, has_dots=True, intervals=spread))
    values = [bound for each in series for interval in each.intervals for bound in (interval.low, interval.high)]
    x = Axis(of_amounts([size for each in series for size, _ in each.points]), rows, number)
    title = f"{subject.name}: {metric} by the number of {rows}"
    told = "; ".join(f"{each.name} {each.points[0][1]:.3f} to {each.points[-1][1]:.3f}" for each in series)
    return Efficiency(subject, metric, series, lines(title, told, x, Axis(over(values), metric, number), series))
