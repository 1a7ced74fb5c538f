"""Quality against cost: a small chart for each kind of cost, and the figures beneath."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tenfold.compare.bill import Bill
from tenfold.compare.ranking import pareto
from tenfold.compare.report.charts import Axis, Point, Told, scatter
from tenfold.compare.report.figures import Figure, size
from tenfold.compare.report.scales import of_amounts
from tenfold.compare.report.subjects import Subject, score_axis
from tenfold.evaluation.duration import duration
from tenfold.evaluation.figures import share_text

KINDS: tuple[tuple[str, Callable[[Bill], float | None], Told], ...] = (
    ("training, with search and any teacher, time of one run", lambda bill: bill.seconds, duration),
    ("peak memory while training", lambda bill: bill.peak_memory_bytes, size),
    ("what is saved, on disk", lambda bill: bill.bytes_on_disk, size),
    ("one answer, time", lambda bill: bill.answer_seconds, duration),
)
"""Each kind of cost: what it is called, where it stands in the bill, and how it is told."""

NONE = "–"


@dataclass(frozen=True)
class Spending:
    """The charts, and a table of the same figures."""

    charts: Sequence[str]
    heading: Sequence[str]
    rows: Sequence[tuple[Subject, Sequence[Figure]]]


def spending(subjects: Sequence[Subject]) -> Spending:
    """Return quality against each cost that at least two entries have, and every figure in a table."""
    known = [subject for subject in subjects if subject.standing.is_defined]
    charts = []
    for label, cost, told in KINDS:
        costs = {subject.name: value for subject in known if (value := cost(subject.bill)) is not None}
        if len(costs) > 1:
            charts.append(_chart([subject for subject in known if subject.name in costs], costs, label, told))
    heading = ["trained", "training", "search", "teacher, before", "peak memory", "on disk", "one answer"]
    rows = [(subject, _cells(subject.bill)) for subject in subjects]
    used = [place for place in range(len(heading)) if any(cells[place].text != NONE for _, cells in rows)]
    return Spending(
        charts,
        [heading[place] for place in used],
        [(subject, [cells[place] for place in used]) for subject, cells in rows],
    )


def _chart(subjects: Sequence[Subject], costs: dict[str, float], label: str, told: Told) -> str:
    y = score_axis(subjects)
    sign = 1 if subjects[0].measure.higher_is_better else -1
    front = pareto({each.name: (sign * each.standing.score.mean, costs[each.name]) for each in subjects})
    points = [
        Point(each.name, each.rank, each.place, costs[each.name], each.standing.score.mean, each.standing.score)
        for each in subjects
    ]
    x = Axis(of_amounts(list(costs.values()), is_time=told is duration), label, told)
    quality = subjects[0].measure.title
    return scatter(f"{quality} against {label}", x, Axis(y.scale, quality, y.told), points, sorted(front))


def _cells(bill: Bill) -> list[Figure]:
    return [
        Figure(share_text(bill.trainable_share), bill.trainable_share),
        _told(bill.train_seconds, duration),
        _told(bill.search_seconds or None, duration),
        Figure("not known") if bill.before_seconds is None else _told(bill.before_seconds or None, duration),
        _told(bill.peak_memory_bytes, size),
        _told(bill.bytes_on_disk, size),
        _told(bill.answer_seconds, duration),
    ]


def _told(value: float | None, told: Told) -> Figure:
    return Figure(NONE) if value is None else Figure(told(value), value)
