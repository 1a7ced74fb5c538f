"""Arguments and options that several commands share, and how pairs such as `ours=yours` are read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tenfold.data.checking.finding import COUNTING
from tenfold.errors import Problem, RecipeError

if TYPE_CHECKING:
    from tenfold.compare.jobs import Executor

RecipeFile = Annotated[Path, typer.Argument(help="A recipe (YAML). `tenfold init` writes one.")]
ArtifactFolder = Annotated[Path, typer.Argument(help="The output folder of a run.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, e.g. --set tuner.rank=32.")
]
Columns = Annotated[
    list[str] | None,
    typer.Option(metavar="OURS=YOURS", help="Your column for one of ours, e.g. prompt=question; may be repeated."),
]
SeveralData = Annotated[
    list[str], typer.Option("--data", help="File, folder, hub id, or sample:NAME; again for each task.")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KIND", help=f"With --strict: accept this kind; again for each, or a,b. Kinds: {', '.join(COUNTING)}."
    ),
]
ModelName = Annotated[str, typer.Option("--model", help="Alias, hub id, folder or .gguf file.")]
DEFAULT_MODEL = "smollm2-135m-instruct"
TaskName = Annotated[str | None, typer.Option("--task", help="Which of the artifact's tasks; the first when unset.")]
Adapter = Annotated[
    str | None,
    typer.Option(help="Answer by this adapter: NAME, A+B fused, A/B stacked, or none; the task's own when unset."),
]
DropBlocks = Annotated[int, typer.Option(min=0, help="Leave the adapters of the first so many blocks out: faster.")]
Base = Annotated[str | None, typer.Option(help="Another copy of the base model (its hash is checked).")]

GridFile = Annotated[Path, typer.Argument(help="A recipe for your rows, or a grid file: `recipe:` and lists to cross.")]
Techniques = Annotated[str | None, typer.Option(help="`all`, or some by name: `instruction,feature_based`.")]
Budget = Annotated[str | None, typer.Option(help="What all of it may take: 90s, 30m, 2h.")]
Seeds = Annotated[int | None, typer.Option(min=1, help="Runs of each, with other orders and starts.")]
Binds = Annotated[str | None, typer.Option(help="What is equal for all runs: seconds, updates, tokens.")]
Rates = Annotated[str | None, typer.Option(help="Multiples of the usual learning rate to search: `0.3,1,3`.")]
On = Annotated[
    str | None,
    typer.Option(metavar="ray[:cpus=N,gpus=N]", help="Carry the runs out on a Ray cluster, so much for each."),
]


def read_columns(pairs: list[str] | None) -> dict[str, str] | None:
    """Return `ours=yours` pairs as a mapping, None where there are none.

    Raises:
        RecipeError: one is not of that form.
    """
    return dict(split_pairs(pairs, "--columns", "OURS=YOURS, e.g. prompt=question")) if pairs else None


def read_place(on: str | None) -> Executor | None:
    """Return where `--on` has a comparison's runs carried out, None where it is not given.

    Raises:
        RecipeError: it says something else, or what it asks for is not installed.
    """
    if on is None:
        return None
    from tenfold.compare.on_ray import on_ray

    return on_ray(on)


def split_pairs(pairs: list[str], option: str, form: str) -> list[tuple[str, str]]:
    """Return the two sides of each `left=right`; raises a `RecipeError` that names `option` and the `form` it takes."""
    for pair in pairs:
        if not all(pair.partition("=")):
            raise RecipeError(Problem(option, f"found {pair!r}", allowed=form))
    return [(left, right) for left, _, right in (pair.partition("=") for pair in pairs)]
