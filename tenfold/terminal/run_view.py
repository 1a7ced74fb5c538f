"""What a run shows: a moving line while it goes, then what was gained, lost and paid, and what to try next."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tenfold.artifact import Artifact
from tenfold.evaluation.scorecard import Score
from tenfold.evaluation.scorecard_view import interval_text, terminal_table
from tenfold.recipe import Recipe
from tenfold.run import run
from tenfold.terminal.progress import ProgressLine

OUTCOME_STYLE = {"held": "green", "not held here": "red", "unclear": "yellow"}


def run_and_show(recipe: Recipe) -> None:
    """Carry out the recipe with a progress line, then show its artifact."""
    console = Console()
    if recipe.model.trust_remote_code:
        console.print(f"[bold red]running Python code that comes with {escape(recipe.model.name)}[/bold red]")
    with stop_signals(console) as stop_asked, ProgressLine(console) as progress:
        artifact = run(recipe, listeners=(progress,), stop_asked=stop_asked)
    if not progress.heard_anything:
        console.print("Nothing has changed since this run was finished; here is its artifact again.")
    show_artifact(artifact)


@contextmanager
def stop_signals(console: Console) -> Iterator[Callable[[], bool]]:
    """Yield a question: has Ctrl-C or SIGTERM come? The first one only asks; a second Ctrl-C stops at once."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked = True
        console.print("stopping after this update, with a checkpoint (Ctrl-C again stops at once)")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def show_artifact(artifact: Artifact) -> None:
    """Print scores before and after, answers side by side, claims, cost, and what to try next."""
    console = Console()
    facts = artifact.facts
    console.rule(f"{facts['base']} · {facts['technique']} · {facts['tuner']}")
    console.print(terminal_table(artifact.scorecard))
    _show_answers(console, artifact)
    _show_claims(console, artifact)
    _show_cost(console, artifact)
    folder = str(artifact.folder)
    console.print(f"\nArtifact: [bold]{escape(folder)}[/bold]\nTry next:", soft_wrap=True)
    for command in (f"chat {folder}", f"predict {folder} --prompt 'your text'", f"show {folder}"):
        console.print(f"  tenfold {escape(command)}", soft_wrap=True)


def show_score(score: Score) -> None:
    """Print one score: every measure with its interval."""
    console = Console()
    table = Table(box=None, pad_edge=False, title=f"{escape(score.task)}", title_justify="left")
    table.add_column("measure")
    table.add_column("value [95 % interval]")
    table.add_column("rows", justify="right")
    for measure in score.measures.values():
        note = "" if measure.higher_is_better else " (less is better)"
        table.add_row(
            measure.name.replace("_", " ") + note, escape(interval_text(measure.interval)), str(len(measure.items))
        )
    console.print(table)


def _show_answers(console: Console, artifact: Artifact) -> None:
    lines = (artifact.folder / "generations.jsonl").read_text(encoding="utf-8").splitlines()
    shown = lines[: artifact.recipe.evaluation.samples]
    if not shown:
        return
    table = Table(title="Held-out rows, before and after", title_justify="left", show_lines=True, width=80)
    for heading in ("prompt", "reference", "before", "after"):
        table.add_column(heading, ratio=1, overflow="fold")
    for line in shown:
        row = json.loads(line)
        table.add_row(*(escape(_short(row[key])) for key in ("prompt", "reference", "before", "after")))
    console.print(table)


def _show_claims(console: Console, artifact: Artifact) -> None:
    console.print("\n[bold]What the technique promises, and what was measured here[/bold]")
    for claim in json.loads((artifact.folder / "claims.json").read_text(encoding="utf-8")):
        style = OUTCOME_STYLE[claim["outcome"]]
        console.print(
            f"  [{style}]{claim['outcome']:<13}[/{style}] {escape(claim['claim'])}: {escape(claim['because'])}"
        )


def _show_cost(console: Console, artifact: Artifact) -> None:
    cost = artifact.cost
    console.print(
        f"\n[bold]Cost[/bold]  {cost.trainable_parameters:,} parameters trained ({cost.trainable_share:.2%}); "
        f"training {cost.train_seconds:.0f} s at {cost.tokens_per_second:.0f} tokens/s; "
        f"evaluation {cost.evaluation_seconds:.0f} s; peak memory {cost.peak_memory_bytes / 1e9:.2f} GB; "
        f"saved {cost.bytes_on_disk / 1e6:.1f} MB"
    )


def _short(text: str, limit: int = 240) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
