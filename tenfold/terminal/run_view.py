"""What a run shows: a moving line while it goes, then what was gained, lost and paid, and what to try next."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table

from tenfold.artifact import Artifact
from tenfold.evaluation.cost import Cost
from tenfold.evaluation.duration import duration
from tenfold.evaluation.figures import share_text
from tenfold.evaluation.scorecard import BEFORE, RETENTION, Score, Scorecard
from tenfold.evaluation.scorecard_view import interval_text, terminal_table, too_few
from tenfold.evaluation.transfer_view import matrix_table, stage_matrix, transfer_lines
from tenfold.paths import launch
from tenfold.recipe import TASK, Recipe
from tenfold.running import run
from tenfold.terminal.candidates_view import candidate_tables
from tenfold.terminal.console import Console
from tenfold.terminal.model_notice import announce_model
from tenfold.terminal.progress import progress_on
from tenfold.terminal.stopping import stop_signals

OUTCOME_STYLE = {"held": "green", "not held here": "red", "unclear": "yellow"}


_BARE: dict[str, Any] = {
    "box": None,
    "pad_edge": False,
    "show_header": False,
    "title_justify": "left",
    "title_style": "bold",
}


def run_and_show(recipe: Recipe) -> None:
    """Carry out the recipe with a progress line, then show its artifact.

    Raises:
        UserError: the recipe, its data or its model cannot be used as asked.
        RunFailure: the training could not go on, or was stopped.
    """
    console = Console(quiet=not launch().speaks)
    if launch().speaks:
        announce_model(recipe.model)
    with stop_signals(console) as stop, progress_on(console) as progress:
        artifact = run(recipe, listeners=(stop, progress), stop_asked=lambda: stop.is_asked)
    if not progress.heard_anything:
        console.print("Nothing has changed since this run was finished; here is its artifact again.")
    if launch().speaks:
        show_artifact(artifact)


def show_artifact(artifact: Artifact) -> None:
    """Print scores before and after, answers side by side, claims, cost, and what to try next.

    Raises:
        ArtifactError: one of its files is missing or damaged; nothing was printed.
    """
    console = Console()
    facts = artifact.facts
    parts = (
        terminal_table(artifact.scorecard),
        *_notes(artifact.scorecard),
        *_stages(artifact),
        *candidate_tables(artifact),
        *_answers(artifact),
        _claims(artifact),
        *_reported(facts["reported"]),
        _cost(artifact.cost),
    )
    console.rule(escape(_title(facts, console.width)))
    for part in parts:
        console.print(part)
    folder = shlex.quote(str(artifact.folder))
    console.print(f"\nArtifact: [bold]{escape(str(artifact.folder))}[/bold]\nTry next:", soft_wrap=True)
    for command in (*_next_commands(facts, folder), f"show {folder}"):
        console.print(f"  tenfold {escape(command)}", soft_wrap=True)


def _title(facts: Mapping[str, Any], width: int) -> str:
    """Return model, technique and tuner on one line of `width`; of a model with a long path the end is told."""
    rest = f" · {facts['technique']} · {facts['tuner']}"
    base, room = str(facts["base"]), max(1, width - 4 - cell_len(rest))  # a blank and a sign of the rule on both sides
    return (base if cell_len(base) <= room else "…" + base[len(base) - room + 1 :]) + rest


def _next_commands(facts: Mapping[str, Any], folder: str) -> tuple[str, ...]:
    """Return what to ask of the artifact in `folder` first: `chat` where a decoder alone answers in words."""
    kinds = {task["kind"] for task in facts["tasks"].values()}
    of_task = f" --task {shlex.quote(next(reversed(facts['tasks'])))}" if len(facts["tasks"]) > 1 else ""
    rows, prompt = f"--data {shlex.quote('your_rows.jsonl')}{of_task}", f"--prompt 'your text'{of_task}"
    if not kinds <= {"generation", "translation", "transcription"}:
        return (f"predict {folder} {rows}", f"evaluate {folder} {rows}")
    if "transcription" in kinds:
        return (f"predict {folder} --prompt clip.wav", f"evaluate {folder} {rows}")
    if facts.get("family") != "decoder":
        return (f"predict {folder} {prompt}", f"evaluate {folder} {rows}")
    return (f"chat {folder}", f"predict {folder} {prompt}")


def show_note(note: str) -> None:
    """Print a line that is no result, wrapped at the terminal's width."""
    Console().print(escape(note), highlight=False)


def show_score(score: Score) -> None:
    """Print one score: every measure with its interval."""
    console = Console()
    table = Table(box=None, pad_edge=False, title=f"{escape(score.task)}", title_justify="left")
    table.add_column("measure")
    table.add_column("value [95 % interval]")
    table.add_column("rows", justify="right")
    for measure in score.measures.values():
        note = "" if measure.higher_is_better else " (less is better)"
        table.add_row(measure.title + note, escape(interval_text(measure.interval)), str(measure.num_items))
    console.print(table)


def _notes(scorecard: Scorecard) -> Iterator[str]:
    """Yield a line where tasks have too few rows for any change to be clear."""
    scores = [scorecard.score(scorecard.stages[-1], task) for task in scorecard.tasks if task != RETENTION]
    if note := too_few({score.task: score.primary.num_items for score in scores if score is not None}):
        yield f"[yellow]{escape(note)}[/yellow]"


def _answers(artifact: Artifact) -> Iterator[Table]:
    """Yield a table of answers before and after, where there are any."""
    shown = artifact.generations[: artifact.recipe.evaluation.samples]
    if not shown:
        return
    table = Table(title="Held-out rows, before and after", title_justify="left", show_lines=True, width=80)
    headings = ("prompt", "reference", "before", "after")
    for heading in headings:
        table.add_column(heading, ratio=1, overflow="fold")
    stages = {"before": BEFORE, "after": artifact.scorecard.stages[-1]}
    numbers: Counter[str] = Counter()
    for row in shown:
        task = row.get("task", TASK)
        number, numbers[task] = numbers[task], numbers[task] + 1
        marks = {heading: " …" for heading, stage in stages.items() if _is_cut(artifact, stage, task, number)}
        table.add_row(*(escape(_short(row[heading]) + marks.get(heading, "")) for heading in headings))
        if marks:
            table.caption, table.caption_justify = "… cut at the longest answer allowed: max_new_tokens", "left"
    yield table


def _is_cut(artifact: Artifact, stage: str, task: str, number: int) -> bool:
    score = artifact.scorecard.score(stage, task)
    return score is not None and score.cut[number : number + 1] == (True,)


def _stages(artifact: Artifact) -> Iterator[Table]:
    """Yield stage × task, and what stages did to each other's tasks, where there are several of both."""
    rows = stage_matrix(artifact.scorecard, artifact.lineage)
    if rows is None:
        return
    yield matrix_table(rows)
    lines = transfer_lines(artifact.scorecard, artifact.lineage)
    if lines:
        yield _table("", [(f"  {name}", figure, why) for name, figure, why in lines])


def _reported(reported: Mapping[str, object]) -> Iterator[Table]:
    if reported:
        yield _table("\nFound by the technique", [(f"  {name}", _plain(value)) for name, value in reported.items()])


def _table(title: str, rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(**{**_BARE, **({"title": title} if title else {})})
    table.add_column(no_wrap=True)
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _plain(value: object) -> str:
    """Return a value that a technique reported, as people write it: `lamps 0.25, words 0.75`."""
    return ", ".join(f"{key} {each}" for key, each in value.items()) if isinstance(value, dict) else str(value)


def _claims(artifact: Artifact) -> Table:
    table = Table(title="\nWhat the technique promises, and what was measured here", **_BARE)
    table.add_column(no_wrap=True)
    table.add_column()
    for claim in artifact.claims:
        style = OUTCOME_STYLE.get(claim["outcome"], "")
        table.add_row(f"  {claim['outcome']}", escape(f"{claim['claim']}: {claim['because']}"), style=style)
    return table


def _cost(cost: Cost) -> Table:
    table = Table(title="\nCost", **_BARE)
    table.add_column(no_wrap=True)
    table.add_column()
    rows = {
        "trained": f"{cost.trainable_parameters:,} parameters ({share_text(cost.trainable_share)})",
        "training": f"{duration(cost.train_seconds)}, {cost.tokens_per_second:,.0f} tokens/s",
        **({"comparisons": duration(cost.comparison_seconds)} if cost.comparison_seconds else {}),
        "scoring": duration(cost.evaluation_seconds),
        "peak memory": f"{cost.peak_memory_bytes / 1e9:.2f} GB",
        "on disk": f"{cost.bytes_on_disk / 1e6:.1f} MB"
        if cost.bytes_on_disk >= 1e5
        else f"{cost.bytes_on_disk / 1e3:.1f} kB",
    }
    for name, value in rows.items():
        table.add_row(f"  {name}", value)
    return table


def _short(text: str, limit: int = 240) -> str:
    """Return the text's beginning, with signs that would move the cursor made visible."""
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in text)
