"""The command line. Each command is a few lines: read, call the package, show; errors become one short message."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tenfold import __version__
from tenfold.errors import Problem, RecipeError, TenfoldError

app = typer.Typer(
    name="tenfold",
    help="Ten ways to fine-tune a language model, one engine, measured side by side.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipeFile = Annotated[Path, typer.Argument(help="A recipe (YAML). `tenfold init` writes one.")]
ArtifactFolder = Annotated[Path, typer.Argument(help="The output folder of a run.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, e.g. --set tuner.rank=32.")
]
Base = Annotated[str | None, typer.Option(help="Another copy of the base model (its hash is checked).")]


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Ten ways to fine-tune a language model, one engine, measured side by side."""
    if version:
        typer.echo(f"tenfold {__version__}")
        raise typer.Exit


@app.command()
def techniques() -> None:
    """List the techniques and tuners, and when to use each."""
    from tenfold.terminal.catalogue import show_techniques

    show_techniques()


@app.command()
def init(
    technique: Annotated[str, typer.Argument(help="A technique; `tenfold techniques` lists them.")],
    data: Annotated[str, typer.Option(help="Your rows: a file, a folder, a hub id, or sample:NAME.")],
    model: Annotated[str, typer.Option(help="Alias, hub id, folder or .gguf file.")] = "smollm2-135m-instruct",
    out: Annotated[Path, typer.Option(help="Where to write the recipe.")] = Path("recipe.yaml"),
) -> None:
    """Write a commented starter recipe for your data."""
    from tenfold.terminal.starter import write_starter

    write_starter(technique, data, model, out)


@app.command()
def check(
    recipe: RecipeFile,
    overrides: Overrides = None,
    trial: Annotated[bool, typer.Option(help="Make one real update to measure memory and time.")] = True,
) -> None:
    """Find every problem before training, then show what would be trained and what it would cost."""
    from tenfold.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    from tenfold.terminal.check_view import show_check

    show_check(loaded, trial=trial)


@app.command()
def run(recipe: RecipeFile, overrides: Overrides = None) -> None:
    """Fine-tune as the recipe says; run it again after an interruption and it goes on by itself."""
    from tenfold.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    from tenfold.terminal.run_view import run_and_show

    run_and_show(loaded)


@app.command()
def show(artifact: ArtifactFolder) -> None:
    """Show an artifact: scores before and after, claims, cost, answers side by side."""
    from tenfold.artifact import Artifact
    from tenfold.terminal.run_view import show_artifact

    show_artifact(Artifact.open(artifact))


@app.command()
def predict(
    artifact: ArtifactFolder,
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt; may be given several times.")] = None,
    data: Annotated[str | None, typer.Option(help="Rows to answer, in any format that a recipe reads.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write JSON lines here instead of printing them.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None,
    base: Base = None,
) -> None:
    """Answer prompts with the tuned model: one JSON line a row."""
    if not prompt and data is None:
        raise RecipeError(Problem("predict", "nothing to answer", allowed="--prompt TEXT or --data FILE"))
    from tenfold.answering import predict_rows

    for line in predict_rows(
        artifact, prompts=prompt or [], data=data, out=out, max_new_tokens=max_new_tokens, base=base
    ):
        typer.echo(line)


@app.command()
def evaluate(
    artifact: ArtifactFolder,
    data: Annotated[str, typer.Option(help="Rows with references, in any format that a recipe reads.")],
    max_rows: Annotated[int | None, typer.Option(min=1, help="Score at most this many rows.")] = None,
    base: Base = None,
) -> None:
    """Score the tuned model on rows of yours, with intervals."""
    from tenfold.answering import evaluate_rows
    from tenfold.terminal.run_view import show_score

    show_score(evaluate_rows(artifact, data=data, max_rows=max_rows, base=base))


@app.command()
def chat(
    artifact: ArtifactFolder,
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 answers greedily.")] = 0.0,
    max_new_tokens: Annotated[int, typer.Option(min=1)] = 512,
    base: Base = None,
) -> None:
    """Talk to the tuned model; its answer streams. An empty line or Ctrl-D ends."""
    from tenfold.terminal.chat import chat_loop

    chat_loop(artifact, system=system, temperature=temperature, max_new_tokens=max_new_tokens, base=base)


@app.command()
def cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove everything in it.")] = False,
) -> None:
    """Show what the cache holds (converted models, tokenised rows, finished stages) and how big it is."""
    from tenfold.terminal.catalogue import show_cache

    show_cache(clear=clear)


def main() -> None:
    """Run the command; a `TenfoldError` is printed as it is and sets the exit code."""
    _in_command(app)


def _in_command(command: Callable[[], object]) -> None:
    try:
        command()
    except TenfoldError as error:
        print(f"tenfold: {len(error.problems)} problem{'s' * (len(error.problems) > 1)}", file=sys.stderr)
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except KeyboardInterrupt:
        print("tenfold: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
