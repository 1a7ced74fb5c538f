"""What `tenfold compare` shows: the plan, each run's state while it goes, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.live import Live
from rich.markup import escape
from rich.table import Table

from tenfold.compare.bill import bill_of
from tenfold.compare.campaign import Campaign
from tenfold.compare.comparison import Comparison
from tenfold.compare.jobs import Executor, HereOneByOne, Report
from tenfold.compare.judged import judged
from tenfold.compare.ranking import Standing
from tenfold.compare.record import write_record
from tenfold.compare.report import write_report
from tenfold.compare.settled import Plan, held
from tenfold.compare.verdict import plain, refusals, standings_of, verdict
from tenfold.errors import Interrupted, Problem
from tenfold.evaluation.duration import duration
from tenfold.evaluation.scorecard_view import interval_text
from tenfold.terminal.console import Console
from tenfold.terminal.stopping import terminated_as_interrupted

STOPPED = Problem(
    "stopped",
    "as asked; what is finished is kept, and the last checkpoint of what was under way",
    remedy="give the same command again to go on from there",
)


def show_comparison(campaign: Campaign, *, only_plan: bool, executor: Executor | None = None) -> None:
    """Show the plan of `campaign`; unless that is all that is wanted, carry it out and show what came of it.

    Raises:
        Interrupted: Ctrl-C or SIGTERM stopped it while runs were carried out.
    """
    console = Console()
    executor = executor or HereOneByOne()
    at_once = executor.at_once(campaign.base)  # before the plan, which takes a while: a cluster may not be there
    with held(campaign.folder), terminated_as_interrupted():
        show_plan(console, campaign, campaign.plan, at_once)
        if only_plan:
            return
        try:
            with LiveTable(console, campaign.plan.expected_seconds / at_once) as table:
                comparison = campaign.carry_out(executor, table.hear)
        except KeyboardInterrupt:
            raise Interrupted(STOPPED) from None
        show_outcome(console, comparison, campaign.folder)


def show_plan(console: Console, campaign: Campaign, plan: Plan, at_once: int) -> None:
    """Show which ways apply and what each may spend, and why the others do not."""
    table = Table(box=None, pad_edge=False)
    table.add_column("way")
    for heading in ("updates a run", "rates", "seeds", "expected"):
        table.add_column(heading, justify="right")
    for name, allowance in plan.allowances.items():
        updates = "fits once" if allowance.updates is None else f"{allowance.updates:,}"
        rates = str(len(allowance.rates)) if allowance.rates else "-"
        table.add_row(escape(name), updates, rates, str(campaign.grid.seeds), duration(allowance.expected_seconds))
    console.print(table)
    for names, told in refusals(plan.refused):
        console.print(f"[yellow]{escape(names)}[/yellow] {escape(told)}", soft_wrap=True)
    if campaign.lost:
        told = f"[yellow]its rows cannot be read any more[/yellow] ({escape(campaign.lost)})"
        console.print(f"{told}: it goes on from its own copy of them", soft_wrap=True)
    for rule in campaign.rules():
        console.print(f"[dim]{escape(rule)}[/dim]")
    expected = f"[bold]{duration(plan.expected_seconds)}[/bold]"
    if at_once > 1:
        expected += f", {duration(plan.expected_seconds / at_once)} with {at_once} runs at a time"
    console.print(f"expected in all: {expected} where nothing else uses the machine; stop at any time, go on later\n")


class LiveTable:
    """Hears of every job, and shows them all: a table that moves on a terminal, else a line for each change."""

    def __init__(self, console: Console, expected_seconds: float) -> None:
        self.console = console
        self.expected_seconds = expected_seconds
        self.reports: dict[str, Report] = {}
        self.started = time.monotonic()
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> LiveTable:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def hear(self, report: Report) -> None:
        """Take note of a change."""
        known = self.reports.get(report.job.name)
        self.reports[report.job.name] = report
        if self._live is not None:
            self._live.update(self.table(), refresh=True)
        elif known is None or known.state != report.state:
            self.console.print(escape(f"{report.job.name}: {_state(report)}"), soft_wrap=True)

    def table(self) -> Table:
        """Return the table of all jobs heard of so far, and the time left."""
        table = Table(box=None, pad_edge=False)
        table.add_column("run", no_wrap=True, overflow="ellipsis")
        table.add_column("state", overflow="fold")
        for name, report in self.reports.items():
            table.add_row(escape(name), escape(_state(report)))
        took = time.monotonic() - self.started
        left = self.expected_seconds - took
        told = f"about {duration(left)} left" if left > 0 else "longer than expected: other work has the machine too"
        table.caption = f"{duration(took)} so far, {told}"
        table.caption_justify = "left"
        return table


def _state(report: Report) -> str:
    if report.state != "done":
        return f"{report.state}: {report.told}" if report.told else report.state
    artifact = report.job.artifact
    found = None if artifact is None else judged(artifact, report.job.ranked_by)
    return "done" if found is None else f"done: {found.measure.title} {found.measure.value:.3f}"


def show_outcome(console: Console, comparison: Comparison, folder: Path) -> None:
    """Show the table and what may be said of it, and write both into `folder`."""
    standings = standings_of(comparison)
    write_record(comparison, standings, folder / "comparison.json")
    write_report(comparison, folder / "report.html", standings=standings)
    if standings:
        console.print(_leaderboard(comparison, standings))
    for entry in comparison.entries:
        searched = [f"search failed {why}" for why in entry.search_failures]
        for told in (entry.note, *(f"failed: {why}" for why in entry.failures), *searched):
            if told:
                console.print(f"[yellow]{escape(plain(entry.name))}[/yellow]: {escape(told)}", soft_wrap=True)
    console.print()
    for sentence in verdict(comparison, standings):
        console.print(escape(sentence), highlight=False)
    console.print(f"\nReport: [bold]{escape(str(folder / 'report.html'))}[/bold]", soft_wrap=True, highlight=False)


def _leaderboard(comparison: Comparison, standings: Sequence[Standing]) -> Table:
    entries = {entry.name: entry for entry in comparison.entries}
    measure = entries[standings[0].name].measures()[0]
    table = Table(box=None, pad_edge=False)
    table.add_column("way")
    table.add_column(no_wrap=True, header=f"{measure.title}{'' if measure.higher_is_better else ' ↓'}")
    table.add_column("")
    bills = {standing.name: bill_of(entries[standing.name]) for standing in standings}
    has_teachers = any(bill.before_seconds != 0 for bill in bills.values())
    for heading in ("training", "search", *(["teacher"] if has_teachers else []), "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for standing in standings:
        bill = bills[standing.name]
        before = "not known" if bill.before_seconds is None else _seconds(bill.before_seconds)
        against = "best" if standing is standings[0] else "ties" if standing.is_tied else "worse"
        if not standing.is_defined:
            against = "no place"
        table.add_row(
            escape(plain(standing.name)),
            escape(interval_text(standing.score)) if standing.is_defined else "not defined",
            against,
            duration(bill.train_seconds),
            _seconds(bill.search_seconds),
            *([before] if has_teachers else []),
            f"{bill.peak_memory_bytes / 1e9:.2f} GB",
        )
    return table


def _seconds(taken: float) -> str:
    return duration(taken) if taken else "-"
