"""Commands that use what was trained: it answers rows, is scored on others, and talks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tenfold.errors import Problem, RecipeError
from tenfold.terminal import options


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
    from tenfold.terminal.run_view import show_note, show_score

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
        tell=show_note,
    )
    show_score(score)


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
