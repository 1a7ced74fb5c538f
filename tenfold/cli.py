"""The command line. Each command is a few lines: read, call the package, show; errors become one short message."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from tenfold import __version__
from tenfold.errors import Problem, RecipeError, nearest
from tenfold.terminal import options
from tenfold.terminal.faults import told_errors

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


@app.command(short_help="Say which techniques suit your rows and machine: a first guess.")
def advise(
    data: options.SeveralData, model: options.ModelName = options.DEFAULT_MODEL, columns: options.Columns = None
) -> None:
    """Say in seconds which techniques suit your rows, model and machine: a prior, from rules, without any training."""
    from tenfold.terminal.advise_view import show_advice

    show_advice(data, model, columns=options.read_columns(columns))


@app.command()
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


@app.command(short_help="Find every problem; show what would be trained and cost.")
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


@app.command(short_help="Prove what training rests on, on your own model and rows.")
def verify(
    subject: Annotated[Path, typer.Argument(metavar="RECIPE|ARTIFACT", help="A recipe, or a run's output folder.")],
    overrides: options.Overrides = None,
    out: Annotated[Path | None, typer.Option(help="Where to write it as JSON.  [default: OUTPUT.verify.json]")] = None,
) -> None:
    """Prove on your own model, rows and machine, in minutes, what every run rests on; exit with 1 where it fails."""
    from tenfold.terminal.verify_view import show_verification

    raise typer.Exit(not show_verification(subject, overrides or [], out))


@app.command(short_help="Fine-tune as the recipe says, or go on where it stopped.")
def run(recipe: options.RecipeFile, overrides: options.Overrides = None) -> None:
    """Fine-tune as the recipe says; run it again after an interruption and it goes on by itself."""
    from tenfold.recipe import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    from tenfold.terminal.run_view import run_and_show

    run_and_show(loaded)


@app.command(short_help="Show an artifact: scores, claims, cost, answers.")
def show(artifact: options.ArtifactFolder) -> None:
    """Show an artifact: scores before and after, claims, cost, answers side by side."""
    from tenfold.artifact import Artifact
    from tenfold.terminal.run_view import show_artifact

    show_artifact(Artifact.open(artifact))


@app.command(short_help="Compare finished runs: one HTML page.")
def report(
    artifacts: Annotated[list[Path], typer.Argument(metavar="ARTIFACT...", help="The output folders of runs.")],
    out: Annotated[Path, typer.Option(help="Where to write the page.")] = Path("report.html"),
) -> None:
    """Compare finished runs that were scored on the same rows; those that differ only in seed count as one way."""
    from tenfold.terminal.report_view import report_and_show

    report_and_show(artifacts, out)


@app.command()
def predict(
    artifact: options.ArtifactFolder,
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt; may be given several times.")] = None,
    data: Annotated[str | None, typer.Option(help="Rows to answer, in any format that a recipe reads.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write JSON lines here instead of printing them.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None,
    columns: options.Columns = None,
    base: options.Base = None,
    task: options.TaskName = None,
    adapter: options.Adapter = None,
    drop_blocks: options.DropBlocks = 0,
) -> None:
    """Answer prompts with the tuned model: one JSON line a row."""
    if not prompt and data is None:
        raise RecipeError(Problem("predict", "nothing to answer", allowed="--prompt TEXT or --data FILE"))
    from tenfold.answering import predict_rows
    from tenfold.artifact import Artifact
    from tenfold.terminal.model_notice import announce_model

    announce_model(Artifact.open(artifact).recipe.model)
    for line in predict_rows(
        artifact,
        prompts=prompt or [],
        data=data,
        columns=options.read_columns(columns),
        out=out,
        max_new_tokens=max_new_tokens,
        base=base,
        task=task,
        adapter=adapter,
        drop_blocks=drop_blocks,
    ):
        typer.echo(line)


@app.command()
def evaluate(
    artifact: options.ArtifactFolder,
    data: Annotated[str, typer.Option(help="Rows with references, in any format that a recipe reads.")],
    max_rows: Annotated[int | None, typer.Option(min=1, help="Score at most this many rows.")] = None,
    columns: options.Columns = None,
    base: options.Base = None,
    task: options.TaskName = None,
    adapter: options.Adapter = None,
    drop_blocks: options.DropBlocks = 0,
) -> None:
    """Score the tuned model on rows of yours, with intervals."""
    from tenfold.answering import evaluate_rows
    from tenfold.artifact import Artifact
    from tenfold.terminal.model_notice import announce_model
    from tenfold.terminal.run_view import show_score

    announce_model(Artifact.open(artifact).recipe.model)
    score = evaluate_rows(
        artifact,
        data=data,
        columns=options.read_columns(columns),
        max_rows=max_rows,
        base=base,
        task=task,
        adapter=adapter,
        drop_blocks=drop_blocks,
        tell=typer.echo,
    )
    show_score(score)


@app.command()
def chat(
    artifact: options.ArtifactFolder,
    system: Annotated[str | None, typer.Option(help="System prompt.")] = None,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 answers greedily.")] = 0.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 512,
    base: options.Base = None,
    task: options.TaskName = None,
    adapter: options.Adapter = None,
) -> None:
    """Talk to the tuned model; its answer streams. An empty line or Ctrl-D ends."""
    from tenfold.terminal.chat import chat_loop

    chat_loop(
        artifact,
        system=system,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        base=base,
        task=task,
        adapter=adapter,
    )


@app.command(short_help="Give a model more words for the language of your rows.")
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


@app.command(short_help="Which technique for your data, model and budget? Train them side by side.")
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


@app.command(short_help="Show what the cache holds and how big it is.")
def cache(clear: Annotated[bool, typer.Option("--clear", help="Remove everything in it.")] = False) -> None:
    """Show what the cache holds (converted models, tokenised rows, finished stages) and how big it is."""
    from tenfold.terminal.catalogue import show_cache

    show_cache(clear=clear)


def main() -> None:
    """Run the command; an error is printed as one short message and sets the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no ↓ is no reason to fail
    # bitsandbytes, which PEFT imports where it is installed, warns of a kernel that nothing here uses
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    with told_errors(__version__):
        app()


if __name__ == "__main__":
    main()
