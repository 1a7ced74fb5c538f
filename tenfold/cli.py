"""The command line: which commands there are; errors become one short message. Each command is in `commands/`."""

from __future__ import annotations

import io
import logging
import sys
from typing import Annotated

import typer

from tenfold import __version__
from tenfold.commands import before, data, training, using
from tenfold.garbage import rare_collections
from tenfold.terminal.faults import require_alone, told_errors

app = typer.Typer(
    name="tenfold",
    help="Ten ways to fine-tune a language model, one engine, measured side by side.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Ten ways to fine-tune a language model, one engine, measured side by side."""
    require_alone(str(context.invoked_subcommand))
    if version:
        typer.echo(f"tenfold {__version__}")
        raise typer.Exit


app.command()(before.techniques)
app.command(short_help="Say which techniques suit your rows and machine: a first guess.")(before.advise)
app.command()(before.init)
app.command(short_help="Find every problem; show what would be trained and cost.")(before.check)
app.command(short_help="Prove what training rests on, on your own model and rows.")(before.verify)
app.command(short_help="Fine-tune as the recipe says, or go on where it stopped.")(training.run)
app.command(short_help="Show an artifact: scores, claims, cost, answers.")(training.show)
app.command(short_help="Compare finished runs: one HTML page.")(training.report)
app.command()(using.predict)
app.command()(using.evaluate)
app.command()(using.chat)
app.command(short_help="Give a model more words for the language of your rows.")(training.extend)
app.command(short_help="Which technique for your data, model and budget? Train them side by side.")(training.compare)
app.command(short_help="Show what the cache holds and how big it is.")(training.cache)
app.add_typer(data.app, name="data")


def main() -> None:
    """Run the command; an error is printed as one short message and sets the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no ↓ is no reason to fail
    # bitsandbytes, which PEFT imports where it is installed, warns of a kernel that nothing here uses
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with rare_collections(), told_errors(__version__):
        app()


if __name__ == "__main__":
    main()
