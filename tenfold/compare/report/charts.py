"""The kinds of charts in the report. They are drawn for a phone's width, so their words stay readable there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from tenfold.compare.report.scales import Scale
from tenfold.compare.report.svg import box, colour, dot, drawing, line, markup, path, text
from tenfold.evaluation.statistics import Interval

WIDTH, HEIGHT = 340.0, 250.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 26.0, 42.0

_ROOM = 96.0
"""Per cent of a bar's place that its axis takes, so that a dot at the end is whole."""

_SIGN = 6.6
"""Units that a sign of a value on an axis takes at most, in the widest of the usual fonts."""

_LETTER = 7.6
"""The same of a letter of an axis's name."""

Told = Callable[[float], str]
"""How a value on an axis is written."""


@dataclass(frozen=True)
class Axis:
    """An axis: its scale, what it measures with its unit, and how its values are written."""

    scale: Scale
    label: str
    told: Told


@dataclass(frozen=True)
class Point:
    """One entry in a scatter plot, written as its `mark` (its rank)."""

    name: str
    mark: str
    place: int
    x: float
    y: float
    interval: Interval


@dataclass(frozen=True)
class Series:
    """One line of a chart, in the colour of the entry at `place`; dashed for what it is compared with."""

    name: str
    place: int
    points: Sequence[tuple[float, float]]
    is_dashed: bool = False
    has_dots: bool = False
    intervals: Sequence[Interval] = ()


def interval_bar(interval: Interval, scale: Scale, *, place: int, title: str) -> str:
    """Return a bar over the interval with a dot at the mean, as wide as its place in the page."""
    root = drawing(title, "The bar is the 95 % interval, the dot the mean.", size=None, name="strip")
    for tick in scale.ticks():
        line(root, (_share(scale.at(tick)), 0), (_share(scale.at(tick)), 26), "grid")
    low, high = sorted((scale.at(interval.low), scale.at(interval.high)))
    name = colour(place)
    if high > low:
        box(root, (_share(low), 8), (f"{_ROOM * (high - low):.2f}%", 10), f"{name} fill soft")
    dot(root, (_share(scale.at(interval.mean)), 13), 5, f"{name} fill ring")
    return markup(root)


def change_bar(before: float, after: float, scale: Scale, *, place: int, title: str) -> str:
    """Return a line from a ring at what was before to a dot at what came after."""
    root = drawing(title, "The ring is before training, the dot after.", size=None, name="strip")
    for tick in scale.ticks():
        line(root, (_share(scale.at(tick)), 0), (_share(scale.at(tick)), 26), "grid")
    name = colour(place)
    start, end = _share(scale.at(before)), _share(scale.at(after))
    line(root, (start, 13), (end, 13), f"{name} stroke thick")
    dot(root, (start, 13), 5, f"{name} stroke hollow", "before")
    dot(root, (end, 13), 5, f"{name} fill ring", "after")
    return markup(root)


def strip_axis(axis: Axis) -> str:
    """Return the values under a column of bars."""
    root = drawing(axis.label, "The values of the bars above.", size=None, name="strip")
    for tick in axis.scale.ticks():
        at = axis.scale.at(tick)
        anchor = "start" if at < 0.06 else "end" if at > 0.94 else "middle"
        text(root, (_share(at), 14), axis.told(tick), "tick", anchor=anchor)
    return markup(root)


def scatter(title: str, x: Axis, y: Axis, points: Sequence[Point], front: Sequence[str]) -> str:
    """Return quality against cost, with the intervals of quality and a line along the `front`, those of these names."""
    best = "; ".join(point.name for point in points if point.name in front)
    description = f"{y.label} against {x.label}. No other is better at both than: {best}."
    root = drawing(title, description, size=(WIDTH, HEIGHT), name="chart")
    _frame(root, x, y)
    at = {point.name: (_x(x, point.x), _y(y, point.y)) for point in points}
    path(root, _steps(sorted(at[name] for name in front)), "front")
    for point in points:
        across, name = at[point.name][0], colour(point.place)
        ends = (across, _y(y, point.interval.low)), (across, _y(y, point.interval.high))
        line(root, *ends, f"{name} stroke whisker")
    for point in points:
        told = f"{point.mark}. {point.name}: {y.told(point.y)}, {x.told(point.x)}"
        dot(root, at[point.name], 5, f"{colour(point.place)} fill ring", told)
    for point, place in zip(
        points, _free_places(list(at.values()), [len(point.mark) for point in points]), strict=True
    ):
        text(root, place, point.mark, f"{colour(point.place)} fill mark")
    return markup(root)


def lines(title: str, description: str, x: Axis, y: Axis, series: Sequence[Series]) -> str:
    """Return a chart of lines."""
    root = drawing(title, description, size=(WIDTH, HEIGHT), name="chart")
    _frame(root, x, y)
    for each in series:
        name = colour(each.place)
        at = [(_x(x, across), _y(y, up)) for across, up in each.points]
        for (across, _), interval in zip(at, each.intervals, strict=False):
            line(root, (across, _y(y, interval.low)), (across, _y(y, interval.high)), f"{name} stroke whisker")
        path(root, at, f"{name} stroke line{' dashed' if each.is_dashed else ''}", each.name)
        if each.has_dots:
            for place, (across, up) in zip(at, each.points, strict=True):
                dot(root, place, 3.5, f"{name} fill ring", f"{each.name}: {y.told(up)} at {x.told(across)}")
    return markup(root)


def _frame(root: Element, x: Axis, y: Axis) -> None:
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    for tick in y.scale.ticks():
        up = _y(y, tick)
        line(root, (_LEFT, up), (right, up), "grid")
        text(root, (_LEFT - 6, up + 4), y.told(tick), "tick", anchor="end")
    free = 0.0
    for across, words in sorted((_x(x, tick), x.told(tick)) for tick in x.scale.ticks()):
        line(root, (across, bottom), (across, bottom + 4), "axis")
        anchor, half = "end" if across > right - 20 else "middle", _SIGN * len(words) / 2
        start = across - half * (2 if anchor == "end" else 1)
        if start >= free:
            text(root, (across, bottom + 17), words, "tick", anchor=anchor)
            free = start + 2 * half + _SIGN
    line(root, (_LEFT, bottom), (right, bottom), "axis")
    text(root, ((_LEFT + right) / 2, HEIGHT - 6), _fitting(x.label), "label")
    text(root, (2, 13), _fitting(y.label), "label", anchor="start")


def _fitting(label: str) -> str:
    """Return as much of the label as the chart is wide; what a screen reader says has all of it."""
    most = int(WIDTH / _LETTER)
    return label if len(label) <= most else f"{label[: most - 1]}…"


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.scale.at(value) * (WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    return HEIGHT - _BOTTOM - axis.scale.at(value) * (HEIGHT - _TOP - _BOTTOM)


def _share(place: float) -> str:
    return f"{(100 - _ROOM) / 2 + _ROOM * place:.2f}%"


def _steps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points joined by level lines: what the front reaches for a cost is what the last point before gave."""
    steps: list[tuple[float, float]] = []
    for across, up in points:
        if steps:
            steps.append((across, steps[-1][1]))
        steps.append((across, up))
    return steps


def _free_places(points: Sequence[tuple[float, float]], num_signs: Sequence[int]) -> list[tuple[float, float]]:
    """Return for each point a place beside it for its mark of so many signs, the freest of eight."""
    around = [(1, 4), (-1, 4), (0, -10), (0, 18), (1, -7), (-1, -7), (1, 15), (-1, 15)]
    taken = list(points)
    places = []
    for (across, up), signs in zip(points, num_signs, strict=True):
        options = [(across + side * (7 + 4 * signs), up + down) for side, down in around]
        inside = [(a, u) for a, u in options if _LEFT < a < WIDTH - 6 and _TOP - 8 < u < HEIGHT - _BOTTOM]
        others = [other for other in taken if other != (across, up)]
        best = max(inside or options, key=lambda place: min((_apart(place, each) for each in others), default=0.0))
        taken.append((best[0], best[1] - 4))
        places.append(best)
    return places


def _apart(place: tuple[float, float], other: tuple[float, float]) -> float:
    # the middle of a mark is above the line it stands on; beyond 40 units all places are as free as any
    return min(40.0, math.hypot(place[0] - other[0], place[1] - 4 - other[1]))
