"""How a scorecard is shown: a table for the terminal (80 columns at most) and one in Markdown.

An arrow ↓ marks the measures of which less is better.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from tenfold.evaluation.scorecard import BEFORE, Change, Measure, Scorecard
from tenfold.evaluation.statistics import FEWEST_ROWS, Interval
from tenfold.plain import in_markdown

WIDTH = 80
NARROWEST = 16
"""Columns that the names of measures have at least."""
_HEADINGS = ("measure", "before", "after", "change")


@dataclass(frozen=True)
class _Line:
    """One measure of one task: before, after a later stage, and the change."""

    task: str
    stage: str
    measure: str
    before: str
    after: str
    change: str

    @property
    def cells(self) -> tuple[str, str, str, str]:
        return self.measure, self.before, self.after, self.change


def terminal_table(scorecard: Scorecard) -> Table:
    """Return the scorecard as a rich table: a block for each task and later stage, a line a measure."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading, style in zip(_HEADINGS, (None, None, "bold", None), strict=True):
        table.add_column(heading, style=style, overflow="fold")
    blocks = list(_blocks(scorecard))
    room = _room([_HEADINGS, *(line.cells for _, lines in blocks for line in lines)])
    for title, lines in blocks:
        table.add_row(f"[bold]{_escaped(title)}[/bold]")
        for line in lines:
            table.add_row(
                _wrapped(line.measure, room), _escaped(line.before), _escaped(line.after), _coloured(line.change)
            )
    return table


def markdown_table(scorecard: Scorecard) -> str:
    """Return the scorecard as a Markdown table with the task (and stage) in the first column."""
    rows = [("task", *_HEADINGS), ("---",) * (len(_HEADINGS) + 1)]
    rows += [(title, *line.cells) for title, lines in _blocks(scorecard) for line in lines]
    return "\n".join(f"| {' | '.join(in_markdown(cell) for cell in row)} |" for row in rows) + "\n"


def too_few(num_rows: Mapping[str, int]) -> str:
    """Return which tasks have so few test rows that no change could ever be called clear, or nothing.

    `num_rows` holds each task's number of test rows.
    """
    few = {
        task: f"{count} test row{'s' if count != 1 else ''}" for task, count in num_rows.items() if count < FEWEST_ROWS
    }
    told, remedy = ", ".join(f"{task} ({rows})" for task, rows in few.items()), "data.tasks.NAME.test"
    if len(num_rows) == 1:
        told, remedy = "".join(few.values()), "data.test"
    return f"{told} can never show a clear change; {FEWEST_ROWS} can (data.test_share, {remedy})" if few else ""


def interval_text(interval: Interval) -> str:
    """Return `0.83 [0.76, 0.90]`, with a third decimal where two would show an interval under 0.05 wide."""
    decimals = 3 if interval.high - interval.low < 0.05 and interval.high > interval.low else 2
    return f"{interval.mean:.{decimals}f} [{interval.low:.{decimals}f}, {interval.high:.{decimals}f}]"


def change_text(change: Change) -> str:
    """Return `rose (better)`, `fell (worse)` or `no clear change`."""
    if change.is_better or change.is_worse:
        return f"{change.test.verdict} ({'better' if change.is_better else 'worse'})"
    return change.test.verdict


def _blocks(scorecard: Scorecard) -> Iterator[tuple[str, list[_Line]]]:
    later = [stage for stage in scorecard.stages if stage != BEFORE] or [BEFORE]
    for task in scorecard.tasks:
        for stage in later:
            lines = list(_lines(scorecard, task, stage))
            if lines:
                yield (task if len(later) == 1 else f"{task}, {stage}"), lines


def _lines(scorecard: Scorecard, task: str, stage: str) -> Iterator[_Line]:
    early, late = scorecard.score(BEFORE, task), scorecard.score(stage, task)
    for name, measure in (late.measures if late else {}).items():
        was = early.measures.get(name) if early else None
        change = None if stage == BEFORE else scorecard.change(task, name, after=stage)
        yield _Line(
            task=task,
            stage=stage,
            measure=_label(measure),
            before=interval_text(was.interval) if was else "-",
            after="-" if stage == BEFORE else interval_text(measure.interval),
            change=change_text(change) if change else "-",
        )


def _label(measure: Measure) -> str:
    # how the text was cut or normalised belongs to the figure
    _, _, rule = measure.unit.partition("; ")
    name = measure.title.replace(" per ", "/") + (f", {rule}" if rule else "")
    return name if measure.higher_is_better else f"{name} ↓"


def _room(rows: Sequence[Sequence[str]]) -> int:
    """Return the columns that the other cells of `rows` leave to the first."""
    return WIDTH - sum(max(map(len, cells)) + 1 for cells in list(zip(*rows, strict=True))[1:])


def _wrapped(label: str, room: int) -> str:
    """Return `label`, indented, in lines of `room` columns; an arrow never stands alone on one."""
    glued = label.replace(" ↓", "\xa0↓")
    lines = textwrap.wrap(glued, max(room, NARROWEST), initial_indent="  ", subsequent_indent="  ")
    return _escaped("\n".join(lines).replace("\xa0", " "))


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


def _coloured(change: str) -> str:
    if change.endswith("(better)"):
        return f"[green]{change}[/green]"
    return f"[red]{change}[/red]" if change.endswith("(worse)") else change
