"""Commands that train, and those that show, compare and keep what was trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tenfold.errors import Problem, RecipeError, nearest
from tenfold.terminal import options


def run(recipe: options.RecipeFile, overrides: options.Overrides = None) -> None:
    """Fine-tune as the recipe says; run it again after an interruption and it goes on by itself."""
    from tenfold.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    from tenfold.terminal.run_view import run_and_show

    run_and_show(loaded)


def show(artifact: options.ArtifactFolder) -> None:
    """Show an artifact: scores before and after, claims, cost, answers side by side."""
    from tenfold.artifact import Artifact
    from tenfold.terminal.run_view import show_artifact

    show_artifact(Artifact.open(artifact))


def report(
    artifacts: Annotated[list[Path], typer.Argument(metavar="ARTIFACT...", help="The output folders of runs.")],
    out: Annotated[Path, typer.Option(help="Where to write the page.")] = Path("report.html"),
) -> None:
    """Compare finished runs that were scored on the same rows; those that differ only in seed count as one way."""
    from tenfold.terminal.report_view import report_and_show

    report_and_show(artifacts, out)


def compare(
    recipe: options.GridFile,
    techniques: options.Techniques = None,
    budget: options.Budget = None,
    seeds: options.Seeds = None,
    binds: options.Binds = None,
    rates: options.Rates = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what applies, and how long it would take.")] = False,
    out: Annotated[Path | None, typer.Option(help="Its folder.  [default: runs/compare-NAME]")] = None,
    on: options.On = None,
) -> None:
    """Train several techniques on the same rows with the same budget, and say which is better, or that none is.

    What is finished stays: stop it at any time, and give the same command again to go on.
    """
    from tenfold.compare.campaign import Campaign
    from tenfold.compare.grid import load_grid, with_options
    from tenfold.terminal.compare_view import show_comparison

    grid, base = load_grid(recipe)
    asked = {"techniques": techniques, "budget": budget, "seeds": seeds, "binds": binds, "rates": rates}
    folder = out or Path("runs") / f"compare-{recipe.stem}"
    executor = options.read_place(on)
    show_comparison(Campaign(with_options(grid, asked), base, folder), only_plan=plan, executor=executor)


def extend(
    model: Annotated[str, typer.Argument(help="Alias, hub id, folder or .gguf file, with a BPE tokenizer.")],
    data: Annotated[str, typer.Option(help="Rows in the language: a file, a folder, a hub id, or sample:NAME.")],
    out: Annotated[Path, typer.Option(help="The new model's folder.")],
    tokens: Annotated[int, typer.Option(min=1, help="How many new tokens at most.")] = 500,
    init: Annotated[
        str, typer.Option(help="New embeddings start from their old pieces' mean, all tokens' mean, or noise.")
    ] = "pieces",
    columns: options.Columns = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=VALUE", help="Only rows that have it; several values of a column may be named."),
    ] = None,
) -> None:
    """Add tokens that your rows need to a model's vocabulary; say how many fewer tokens the text takes then.

    The new embeddings know little yet: train the whole model afterwards (tuner: full), with its folder as model.name.
    """
    if init not in ("pieces", "mean", "random"):
        raise RecipeError(Problem("--init", f"found {init!r}", "pieces, mean, random", nearest(init, ["pieces"])))
    from tenfold.extending import extend as extend_model
    from tenfold.terminal.extension_view import show_extension

    wanted: dict[str, tuple[str, ...]] = {}
    for column, value in options.split_pairs(where or [], "--where", "COLUMN=VALUE, e.g. language=Welsh"):
        wanted[column] = (*wanted.get(column, ()), value)
    renamed = options.read_columns(columns)
    show_extension(
        extend_model(model, data, num_tokens=tokens, init=init, out=out, columns=renamed, where=wanted)  # type: ignore[arg-type]
    )


def cache(clear: Annotated[bool, typer.Option("--clear", help="Remove everything in it.")] = False) -> None:
    """Show what the cache holds (converted models, tokenised rows, finished stages) and how big it is."""
    from tenfold.terminal.catalogue import show_cache

    show_cache(clear=clear)
