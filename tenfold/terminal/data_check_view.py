"""What `tenfold data check` shows: each finding with its count, examples and what to do; then what was fine."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from tenfold.data.checking.checking import Checked, check_rows
from tenfold.data.checking.cleaning import DROPPED, Cleaned, require_new, write_cleaned
from tenfold.data.checking.finding import KINDS, Finding
from tenfold.data.checking.strict import failing, require_counting
from tenfold.errors import Problem, UserError
from tenfold.evaluation.figures import counted
from tenfold.files import write_json
from tenfold.places import is_json_with, require_free
from tenfold.terminal.console import Console

COUNT = 9
"""Columns of a count."""

WIDTH = 80


def show_data_check(
    files: Sequence[str],
    test: Sequence[str],
    *,
    columns: Mapping[str, str] | None,
    out: Path | None,
    figures: Path | None,
    allowed: Sequence[str] | None,
) -> bool:
    """Check the rows of `files` against each other and those of `test`, print it, and write what is asked for.

    Figures for `-` are printed alone: all else goes to stderr then. Return False where a strict check fails, in which
    the kinds `allowed` are accepted (None: it is not strict).

    Raises:
        DataError: a kind that is not known, files that cannot be read, or a copy that cannot be written as asked.
        UserError: nobody may write there, or a file stands there that is not an earlier check's figures.
    """
    require_counting(allowed or ())
    prints_figures = str(figures) in ("-", "/dev/stdout")
    console = Console(highlight=False, stderr=prints_figures)
    _require_free(out, None if prints_figures else figures, sources=[*files, *test])
    with Progress(
        TextColumn("reading rows"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        task = progress.add_task("", total=0)
        checked = check_rows(
            files, test=test, columns=columns, tell=lambda done, of: progress.update(task, completed=done, total=of)
        )
    _show(console, checked)
    cleaned = None if out is None else write_cleaned(checked, out)
    if cleaned is not None:
        _show_cleaned(console, cleaned)
    elif any(finding.kind in DROPPED for finding in checked.findings):
        console.print("[dim]--out cleaned.jsonl writes a copy without what is safe to leave out[/dim]", soft_wrap=True)
    found = checked.to_json() | ({} if cleaned is None else {"cleaned": cleaned.to_json()})
    if prints_figures:
        print(json.dumps(found, indent=2))
    elif figures is not None:
        write_json(figures, found)
        console.print(f"written to {figures}", markup=False, soft_wrap=True)
    return allowed is None or _show_strict(console, checked, allowed)


def _require_free(out: Path | None, figures: Path | None, *, sources: list[str]) -> None:
    if out is not None:
        require_new(out, sources)
    if figures is not None:
        is_earlier = is_json_with("files", "rows_per_second", "findings")
        require_free(figures, option="--json", unless=is_earlier, what="the figures of an earlier check")
        if out is not None and figures.resolve() == out.resolve():
            raise UserError(Problem("--json", f"{figures} is to take the rows of --out", remedy="name another file"))


def _show(console: Console, checked: Checked) -> None:
    for side in checked.sides.sides:
        role = ", held out" if side.is_test else ""
        console.print(
            f"{side.source}: {counted(len(side.rows), 'row')}, {side.rows.format}{role}", markup=False, soft_wrap=True
        )
    for heading, may_be_meant in (("To mend", False), ("To look at: may be meant", True)):
        found = [each for each in checked.findings if KINDS[each.kind].may_be_meant is may_be_meant]
        if found:
            console.rule(heading, align="left")
        for finding in found:
            _show_finding(console, finding)
    if not checked.findings:
        console.print("\n[bold green]Nothing found.[/bold green]")
    console.rule("Looked for", align="left")
    found_kinds = {finding.kind for finding in checked.findings}
    clean = [_name(kind) for kind in KINDS if kind not in found_kinds | checked.not_asked]
    _paragraph(console, "not found: " + ", ".join(clean), "")
    if checked.languages:
        shares = ", ".join(f"{language} {count:,}" for language, count in list(checked.languages.items())[:8])
        rows = counted(sum(checked.languages.values()), "row")
        _paragraph(console, f"languages of {rows}: {shares} (und: too short or unsure)", "")
    for name, reason in checked.skipped.items():
        console.print(Text(f"{name.replace('_', '-')} not looked for: {reason}", style="yellow"), soft_wrap=True)
    console.print(
        f"{counted(len(checked.sides), 'row')} in {checked.seconds:.1f} s ({checked.rows_per_second:,.0f} rows/s)"
    )


def _show_finding(console: Console, finding: Finding) -> None:
    kind = KINDS[finding.kind]
    line = Text(f"{finding.count:>{COUNT - 2},}  ", style="bold")
    line.append(kind.title, style="yellow" if kind.may_be_meant else "bold red")
    console.print(line, soft_wrap=True)
    if finding.detail:
        _paragraph(console, finding.detail, " " * COUNT)
    for example in finding.examples:
        _paragraph(console, f"{example.place}: {example.text}", " " * COUNT, style="dim")
    _paragraph(console, f"do: {kind.remedy}", " " * COUNT)


def _show_cleaned(console: Console, cleaned: Cleaned) -> None:
    console.rule("Cleaned copy", align="left")
    dropped = _counts({kind: count for kind, count in cleaned.dropped.items() if count})
    _paragraph(console, f"{cleaned.path}: {cleaned.kept:,} of {counted(cleaned.num_rows, 'row')}", "")
    _paragraph(console, f"left out: {dropped or 'nothing'}", "")
    if cleaned.left:
        _paragraph(console, f"left alone, for you to decide (as counted above): {_counts(cleaned.left)}", "")


def _show_strict(console: Console, checked: Checked, allowed: Sequence[str]) -> bool:
    """Print in one line what fails, if anything; return whether nothing does."""
    failed = ", ".join(
        f"{kind} {'not looked for' if count is None else f'{count:,}'}"
        for kind, count in failing(checked, allowed).items()
    )
    line = Text("FAILED: " + failed, style="bold red") if failed else Text("passed", style="bold green")
    console.print(line, soft_wrap=True)
    return not failed


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{_name(kind)} {count:,}" for kind, count in found.items())


def _name(kind: str) -> str:
    return kind.replace("_", " ")


def _paragraph(console: Console, text: str, indent: str, style: str = "") -> None:
    further = indent + "  " if indent else ""
    for line in textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=further, break_on_hyphens=False):
        console.print(Text(line, style=style), soft_wrap=True)
