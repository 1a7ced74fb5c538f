"""Commands about rows by themselves, before any recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tenfold.errors import Problem, UserError
from tenfold.terminal import options

app = typer.Typer(
    help="Look at rows before anything is trained on them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def data() -> None:
    """Look at rows before anything is trained on them."""


@app.command(short_help="Find duplicates, leaks, conflicts, secrets and damage in rows.")
def check(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="File, folder, hub id, or sample:NAME.")],
    test: Annotated[list[str] | None, typer.Option(help="Held-out rows, which must not be in FILE.")] = None,
    columns: options.Columns = None,
    out: Annotated[Path | None, typer.Option(help="Write a cleaned copy of FILE here, as JSON lines.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here; `-` prints them alone.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 where anything is to mend.")] = False,
    allow: options.Allow = None,
) -> None:
    """Find what rows repeat, give away, contradict, break off or damage, and where; nothing is changed.

    Strict, it exits with 0 where nothing stands under "To mend", with 1 where something does, in one row or more, and
    with 2 where it could not check; for the CI of a data set. Not strict, what it finds does not change the 0.
    The cleaned copy leaves out exact duplicates, rows without an answer, and rows with the prompt of a held-out row.
    """
    from tenfold.terminal.data_check_view import show_data_check

    if allow and not strict:
        raise UserError(Problem("--allow", "says what --strict accepts", remedy="give --strict too"))
    allowed = [kind for kinds in allow or [] for kind in kinds.split(",")] if strict else None
    columns_read = options.read_columns(columns)
    raise typer.Exit(
        not show_data_check(files, test or [], columns=columns_read, out=out, figures=json, allowed=allowed)
    )
