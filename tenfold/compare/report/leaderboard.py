"""The leaderboard and what was kept of general abilities: rows with a bar each, on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.compare.bill import Bill
from tenfold.compare.kept import kept, retention_metrics
from tenfold.compare.report.charts import Axis, change_bar, interval_bar, strip_axis
from tenfold.compare.report.figures import number
from tenfold.compare.report.scales import over
from tenfold.compare.report.subjects import Subject, score_axis
from tenfold.evaluation.duration import duration
from tenfold.evaluation.scorecard_view import change_text, interval_text


@dataclass(frozen=True)
class Row:
    """A line of a table with a bar: `status` is what became of it, `tone` how it is coloured.

    By `value` and `order` the columns of figures and of what became of it are sorted.
    """

    subject: Subject
    figure: str
    status: str
    tone: str
    detail: str
    bar: str
    value: float | None
    order: float


@dataclass(frozen=True)
class Board:
    """Rows under one heading, and the axis below their bars."""

    heading: str
    column: str
    last: str
    rows: Sequence[Row]
    axis: str
    title: str = ""


def leaderboard(subjects: Sequence[Subject]) -> Board:
    """Return every scored entry with its interval, and whether it ties with the leader."""
    axis = score_axis(subjects)
    rows = [_standing_row(subject, axis) for subject in subjects]
    return Board(axis.label, "score [95 % interval]", "standing", rows, strip_axis(axis))


def _standing_row(subject: Subject, axis: Axis) -> Row:
    standing, runs = subject.standing, len(subject.entry.runs)
    told = [f"{runs} seed{'s' if runs != 1 else ''}", *_teachers_part(subject.bill)]
    if not standing.is_defined:
        figure = "not defined on these rows"
        return Row(subject, figure, "no place", "even", "; ".join(told), "", None, subject.place)
    behind = f"{standing.behind.mean:.3f} [{standing.behind.low:.3f}, {standing.behind.high:.3f}] behind"
    status, tone = ("ties", "even") if standing.is_tied else ("clearly worse", "bad")
    if not subject.place:
        status, tone = "leads", "good"
    elif standing.behind.low == standing.behind.high == 0:
        told.insert(0, "the same on every row")
    else:
        told.insert(0, f"{behind.replace('-', MINUS)}, p{NO_BREAK}{p_text(standing.p_value)}")
    figure = interval_text(standing.score)
    bar = interval_bar(standing.score, axis.scale, place=subject.place, title=f"{subject.name}: {figure}")
    return Row(subject, figure, status, tone, "; ".join(told), bar, standing.score.mean, subject.place)


def _teachers_part(bill: Bill) -> list[str]:
    """Return what part of its time was a teacher's, where it has one."""
    if bill.seconds is None or bill.before_seconds is None:
        return ["what its teacher took is not known"]
    if not bill.before_seconds:
        return []
    return [f"of {duration(bill.seconds)} its teacher took {duration(bill.before_seconds)}, before"]


MINUS, NO_BREAK = "\N{MINUS SIGN}", "\N{NO-BREAK SPACE}"


def p_text(value: float) -> str:
    """Return `= 0.031` or `< 0.001`."""
    return f"={NO_BREAK}{value:.3f}" if value >= 0.001 else f"<{NO_BREAK}0.001"


KEPT = {"general_bits_per_byte": "General text, bits per byte", "knowledge_accuracy": "General knowledge, share right"}
"""What the measures of the retention set are called."""


def retention_boards(subjects: Sequence[Subject]) -> list[Board]:
    """Return a board for each measure of what was kept, best kept first; none where nothing was measured."""
    boards = []
    for metric in retention_metrics([subject.entry for subject in subjects]):
        found = [(subject, each) for subject in subjects if (each := kept(subject.entry, metric)) is not None]
        if not found:
            continue
        better = found[0][1].before.higher_is_better
        found.sort(key=lambda pair: pair[1].change.test.difference.mean * (-1 if better else 1))
        values = [measure.value for _, each in found for measure in (each.before, each.after)]
        axis = Axis(over(values, is_reversed=not better), found[0][1].before.title, number)
        rows = []
        for subject, each in found:
            tone = "bad" if each.change.is_worse else "good" if each.change.is_better else "even"
            figure = f"{each.before.value:.3f} → {each.after.value:.3f}"
            detail = each.change.test.difference.signed.replace("-", MINUS)
            bar = change_bar(
                each.before.value, each.after.value, axis.scale, place=subject.place, title=f"{subject.name}: {figure}"
            )
            order = each.change.test.difference.mean
            rows.append(Row(subject, figure, change_text(each.change), tone, detail, bar, each.after.value, order))
        title = KEPT.get(metric, f"{found[0][1].before.title}, {found[0][1].before.unit}")
        title += f" ({'more' if better else 'less'} is better)"
        boards.append(
            Board("worse ↔ better", "before → after", "change [95 % interval]", rows, strip_axis(axis), title)
        )
    return boards
