"""What `tenfold report` shows: the verdict in words, and where the page is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape

from tenfold.artifact import Artifact
from tenfold.compare.gather import comparison_of
from tenfold.compare.report import is_report, write_report
from tenfold.compare.verdict import standings_of, verdict
from tenfold.places import require_free
from tenfold.terminal.console import Console


def report_and_show(folders: Sequence[Path], out: Path) -> None:
    """Write the report on the artifacts in `folders` to `out`, and print the verdict.

    Raises:
        UserError: the runs cannot be compared, nobody may write at `out`, or a file stands there that is no report.
    """
    require_free(out, unless=is_report, what="known as a page that Tenfold wrote")
    comparison = comparison_of([Artifact.open(folder) for folder in folders])
    standings = standings_of(comparison)
    write_report(comparison, out, standings=standings)
    console = Console()
    for sentence in verdict(comparison, standings):
        console.print(escape(sentence), highlight=False)
    console.print(f"\nReport: [bold]{escape(str(out))}[/bold]", soft_wrap=True, highlight=False)
