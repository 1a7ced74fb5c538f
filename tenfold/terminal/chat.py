"""A conversation with a tuned model; its answer appears as it is made."""

from __future__ import annotations

from pathlib import Path

from tenfold.answering import open_kind
from tenfold.artifact import Artifact
from tenfold.data.examples import Turn
from tenfold.data.fields import RowFault
from tenfold.data.render import Renderer
from tenfold.errors import ArtifactError, DataError, Problem
from tenfold.evaluation.generate import stream
from tenfold.models.generate import Sampling
from tenfold.plain import on_screen
from tenfold.tasks.generation import Generation
from tenfold.terminal.console import Console
from tenfold.terminal.model_notice import announce_model


def chat_loop(
    folder: Path,
    *,
    system: str | None,
    temperature: float,
    max_new_tokens: int,
    base: str | None,
    task: str | None = None,
    adapter: str | None = None,
) -> None:
    """Read prompts from standard input and stream answers until an empty line or the end of input."""
    artifact = Artifact.open(folder)
    announce_model(artifact.recipe.model)
    model = artifact.load(base=base)
    name = artifact.task(task)
    artifact.answer_as(model, name, adapter=adapter)
    kind = open_kind(artifact, name, model)
    if not isinstance(kind, Generation) or not isinstance(kind.renderer, Renderer):
        raise ArtifactError(Problem(str(folder), f"a model for {kind.name}", remedy="use `tenfold predict`"))
    console = Console(highlight=False)
    turns = [Turn("system", system)] if system else []
    console.print("Type a prompt; an empty line ends.", style="dim", soft_wrap=True)
    while prompt := _read(console):
        turns.append(Turn("user", prompt))
        answer = ""
        try:
            asked = kind.renderer.prompt(kind.ask(turns))
        except RowFault as fault:
            raise DataError(Problem("chat", str(fault), remedy=fault.remedy)) from None
        with model.autocasting():
            for piece in stream(
                model.network,
                model.tokenizer,
                asked,
                stop_ids=kind.renderer.stop_ids,
                max_new_tokens=max_new_tokens,
                sampling=Sampling(temperature=temperature),
            ):
                console.out(on_screen(piece), end="")
                answer += piece
        console.print()
        turns.append(Turn("assistant", answer))


def _read(console: Console) -> str:
    try:
        line = console.input("[bold]> [/bold]").strip()
        return line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")  # what was typed may not be UTF-8
    except EOFError:
        console.print()
        return ""
