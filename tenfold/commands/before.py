"""Commands of before a run: what there is, what fits, a recipe, its check and its proof."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tenfold.terminal import options


def techniques() -> None:
    """List the techniques and tuners, and when to use each."""
    from tenfold.terminal.catalogue import show_techniques

    show_techniques()


def advise(
    data: options.SeveralData, model: options.ModelName = options.DEFAULT_MODEL, columns: options.Columns = None
) -> None:
    """Say in seconds which techniques suit your rows, model and machine: a prior, from rules, without any training."""
    from tenfold.terminal.advise_view import show_advice

    show_advice(data, model, columns=options.read_columns(columns))


def init(
    technique: Annotated[str, typer.Argument(help="A technique; `tenfold techniques` lists them.")],
    data: options.SeveralData,
    model: options.ModelName = options.DEFAULT_MODEL,
    out: Annotated[Path, typer.Option(help="Where to write the recipe.")] = Path("recipe.yaml"),
    columns: options.Columns = None,
) -> None:
    """Write a commented starter recipe for your data."""
    from tenfold.terminal.starter import write_starter

    write_starter(technique, data, model, out, columns=options.read_columns(columns))


def check(
    recipe: options.RecipeFile,
    overrides: options.Overrides = None,
    trial: Annotated[bool, typer.Option(help="Make a few real updates to measure memory and time.")] = True,
    full: Annotated[bool, typer.Option("--full", help="Show every setting, not only what is no default.")] = False,
) -> None:
    """Find every problem before training, then show what would be trained and what it would cost."""
    from tenfold.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    from tenfold.terminal.check_view import show_check

    show_check(loaded, trial=trial, full=full)


def verify(
    subject: Annotated[Path, typer.Argument(metavar="RECIPE|ARTIFACT", help="A recipe, or a run's output folder.")],
    overrides: options.Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Where to write it as JSON.  [default: OUTPUT.verify.json]")] = None,
) -> None:
    """Prove on your own model, rows and machine, in minutes, what every run rests on; exit with 1 where it fails."""
    from tenfold.terminal.verify_view import show_verification

    raise typer.Exit(not show_verification(subject, overrides or [], out))
