"""How stage × task is shown: the task metrics of every stage as a matrix, and what stages did to each other's tasks."""

from __future__ import annotations

from rich.table import Table

from tenfold.evaluation.lineage import Lineage
from tenfold.evaluation.scorecard import RETENTION, Scorecard
from tenfold.evaluation.scorecard_view import interval_text
from tenfold.evaluation.statistics import Interval
from tenfold.evaluation.transfer import shared_metrics, transfer
from tenfold.plain import in_markdown


def stage_matrix(scorecard: Scorecard, lineage: Lineage) -> list[tuple[str, ...]] | None:
    """Return the heading and a row a stage, a cell a task; what a stage trained is marked with a star.

    None for a single task or a single trained stage, where the scorecard says it all.
    """
    tasks = [task for task in scorecard.tasks if task != RETENTION]
    if len(tasks) < 2 or len(scorecard.stages) < 3:
        return None
    metrics = shared_metrics(scorecard, tasks) or _own_metrics(scorecard, tasks)
    trained = {stage.name: stage.tasks for stage in lineage.stages}
    heading = ("stage", *(f"{task} ({metrics[task].replace('_', ' ')})" for task in tasks))
    rows = []
    for stage in scorecard.stages:
        cells = []
        for task in tasks:
            score = scorecard.score(stage, task)
            measure = None if score is None else score.measures.get(metrics[task])
            star = " *" if task in trained.get(stage, ()) else ""
            cells.append("-" if measure is None else interval_text(measure.interval) + star)
        rows.append((stage, *cells))
    return [heading, *rows]


def _own_metrics(scorecard: Scorecard, tasks: list[str]) -> dict[str, str]:
    scores = {task: next(score for score in scorecard.scores if score.task == task) for task in tasks}
    return {task: score.primary.name for task, score in scores.items()}


def transfer_lines(scorecard: Scorecard, lineage: Lineage) -> list[tuple[str, str, str]]:
    """Return name, figure and meaning of each kind of transfer, where stages trained different tasks in turn."""
    found = transfer(scorecard, lineage.trained_tasks())
    if found is None:
        return []
    lines = [
        ("backward transfer", signed(found.backward), "what later stages did to tasks learned before"),
        ("forward transfer", signed(found.forward), "what earlier stages did for tasks not yet learned"),
        ("forgetting", signed(found.forgetting), "from each earlier task's best to the end"),
    ]
    if len(found.forgotten) > 1:
        lines += [(f"forgetting {task}", signed(each), "") for task, each in found.forgotten.items()]
    return lines


def signed(interval: Interval) -> str:
    """Return `+0.083 [+0.012, +0.151]`."""
    return interval.signed


def matrix_table(rows: list[tuple[str, ...]]) -> Table:
    """Return the matrix as a rich table."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), title="\nStages and tasks", title_justify="left")
    for heading in rows[0]:
        table.add_column(heading.replace("[", r"\["), overflow="fold")
    for row in rows[1:]:
        table.add_row(*(cell.replace("[", r"\[") for cell in row))
    return table


def matrix_markdown(scorecard: Scorecard, lineage: Lineage) -> str:
    """Return the matrix and the transfer lines in Markdown, or nothing where there is no matrix."""
    rows = stage_matrix(scorecard, lineage)
    if rows is None:
        return ""
    lines = [rows[0], ("---",) * len(rows[0]), *rows[1:]]
    table = "\n".join(f"| {' | '.join(in_markdown(cell) for cell in row)} |" for row in lines)
    text = f"{table}\n\nA star marks what the stage was trained on."
    transfers = [
        f"- {name}: {figure}" + (f" ({why})" if why else "") for name, figure, why in transfer_lines(scorecard, lineage)
    ]
    return text + ("\n\n" + "\n".join(transfers) if transfers else "")
