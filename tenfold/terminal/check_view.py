"""What `tenfold check` shows: notes, rows and cost first, then rows as the trainer sees them, and the recipe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from tenfold.data.checking.quick import count_repeats
from tenfold.data.preview import Preview, preview
from tenfold.engine.log import Log
from tenfold.engine.runtime import open_runtime
from tenfold.engine.stage import Stage
from tenfold.evaluation.duration import duration
from tenfold.evaluation.figures import counted, share_text
from tenfold.evaluation.scorecard import BEFORE
from tenfold.evaluation.scorecard_view import too_few
from tenfold.output import check_output
from tenfold.recipe import TASK, Recipe, dump_changes, dump_recipe
from tenfold.techniques.context import Run
from tenfold.techniques.opened import open_recipe
from tenfold.techniques.technique import Plan
from tenfold.techniques.trial import Trial, try_reading, try_updates
from tenfold.techniques.world import World
from tenfold.terminal.console import Console
from tenfold.terminal.model_notice import announce_model

BAR = 40
"""Columns of the longest bar."""


def show_check(recipe: Recipe, *, trial: bool, full: bool = False) -> None:
    """Check every layer of `recipe`, print the preview, and with `trial` measure two updates.

    `full` shows every setting of the resolved recipe, not only what differs from the defaults.

    Raises:
        UserError: with every problem of the first layer that has any.
    """
    console = Console()
    announce_model(recipe.model)
    opened = open_recipe(recipe)
    technique, options, recipe, world = opened.technique, opened.options, opened.recipe, opened.world
    check_output(recipe, world.fingerprint, parts=world.parts)
    run = Run(world, folder=Path(recipe.output), runtime=open_runtime(recipe.runtime), log=Log(None))
    resolved = run.resolved_recipe
    num_rows = 3 if len(run.tasks) == 1 else 1
    previews = {task.name: preview(task.windows, task.kind.renderer, num_rows=num_rows) for task in run.tasks}
    num_notes = _show_notes(console, world)
    _show_rows(console, world)
    plan = technique.plan(run, options)
    plan = replace(plan, stages=run.keep_to_budget(plan.stages))
    if plan.stages:
        _show_training(console, run, plan, trial=trial)
    else:
        _show_reading(console, run, plan, trial=trial)
    for task, shown in previews.items():
        _show_preview(console, task, shown)
    _show_recipe(console, resolved, full=full)
    console.print(
        f"\n[bold green]No problems found{f'; {num_notes} noted at the top' if num_notes else ''}.[/bold green]"
    )


def _show_notes(console: Console, world: World) -> int:
    """Show what the gate noted, and which tasks have too few test rows; return how many notes there are."""
    notes = []
    for finding in world.findings:
        heading = "[dim]note[/dim]" if finding.is_note else "[yellow]allowed by gate.allow[/yellow]"
        notes.append(f"{heading} {escape(str(finding.problem))}")
    if few := too_few({name: len(task.items) for name, task in world.tasks.items() if task.test is not None}):
        notes.append(f"[yellow]{escape(few)}[/yellow]")
    notes += [f"[yellow]{escape(note)}[/yellow]" for note in _repeats(world)]
    for note in notes:
        console.print(note)
    return len(notes)


def _repeats(world: World) -> Iterator[str]:
    """Yield what is told of each task's training rows that repeat or contradict each other."""
    for name, task in world.tasks.items():
        rows = task.train.rows
        found = count_repeats(rows)
        counts = {"repeat an earlier one": found.duplicates, "have another label elsewhere": found.conflicts}
        told = " and ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        if told:
            of_task = "" if name == TASK else f" of {name}"
            yield f"of {found.num_rows:,} training rows{of_task} {told}: tenfold data check FILE says which"


def _show_rows(console: Console, world: World) -> None:
    console.rule("Rows", align="left")
    table = Table(box=None, pad_edge=False)
    several = len(world.tasks) > 1
    table.add_column("", overflow="fold")
    for heading in ("rows", "tokens", "each", "in the loss"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("format", no_wrap=True)
    table.add_column("source", overflow="fold")
    sides = [(task.name, *each) for task in world.tasks.values() for each in task.sides.items()]
    for task, name, side in sides:
        lengths = side.column("length")
        supervised = side.column("num_supervised").sum()
        share = (
            f"{supervised / lengths.sum():.1%}"
            if side.form is None
            else f"{supervised:,} label{'s' if supervised != 1 else ''}"
        )
        table.add_row(
            f"{escape(task)}, {name}" if several else name,
            f"{len(side.rows):,}",
            f"{lengths.sum():,}",
            f"{lengths.min():,}-{lengths.max():,}",
            share,
            side.rows.format,
            escape(side.rows.name),
        )
    console.print(table)


def _show_preview(console: Console, task: str, shown: Preview) -> None:
    of_task = "" if task == TASK else f" of {escape(task)}"
    console.rule(f"Lengths of training rows{of_task}, in tokens", align="left")
    most = max(count for _, _, count in shown.lengths)
    for low, high, count in shown.lengths:
        console.print(f"{low:>7}-{high:<7} {'█' * round(BAR * count / most)} {count:,}")
    console.rule(f"Training rows{of_task} as the trainer sees them", align="left")
    has_colour = console.color_system is not None
    if any(in_loss for row in shown.rows for _, in_loss in row.runs):
        console.print(f"{'[green]green[/green]' if has_colour else '⟦what stands here⟧'} is in the loss")
    for row in shown.rows:
        console.print(Text(row.origin, style="dim"))
        text = Text.assemble(*((run, "bold green" if in_loss else "") for run, in_loss in row.runs))
        console.print(text if has_colour else Text(row.marked))
        if row.label:
            console.print(Text(f"→ {row.label}", style="bold"))


def _show_recipe(console: Console, recipe: Recipe, *, full: bool) -> None:
    if full:
        console.rule("Recipe, every setting", align="left")
        console.print(escape(dump_recipe(recipe).rstrip()))
        return
    console.rule("Recipe, what is no default (all of it: --full)", align="left")
    console.print(escape(dump_changes(recipe).rstrip()))


def _show_plan(console: Console, plan: Plan) -> None:
    """Show the stages where there are several, and what the technique has to say."""
    if len(plan.stages) > 1:
        console.rule("Stages", align="left")
        table = Table(box=None, pad_edge=False)
        for heading in ("stage", "tasks", "goes on from", "tuner"):
            table.add_column(heading)
        table.add_column("updates", justify="right")
        for place, stage in enumerate(plan.stages):
            started = stage.starts_from or ("the one before" if place else BEFORE)
            cells = (stage.name, ", ".join(stage.tasks), started, stage.tuner.name, f"{stage.total_updates:,}")
            table.add_row(*map(escape, cells))
        console.print(table)
    for note in plan.notes:
        console.print(escape(note))


def _show_training(console: Console, run: Run, plan: Plan, *, trial: bool) -> None:
    stage = run.attach(plan.stages[plan.tried])
    _show_plan(console, plan)
    _show_size(console, run, stage)
    if trial:
        found = try_updates(run.model, stage)
        found = replace(found, peak_memory_bytes=found.peak_memory_bytes + plan.held_bytes)
        _show_trial(console, found, sum(each.total_updates for each in plan.stages))


def _show_reading(console: Console, run: Run, plan: Plan, *, trial: bool) -> None:
    """Show what a technique that trains nothing of the model does, and how long reading its rows takes."""
    console.rule("Reading", align="left")
    tokens = sum(int(task.train.column("length").sum()) for task in run.tasks)
    console.print(f"no parameter of the model trains: it reads {tokens:,} tokens once, {run.runtime.precision}")
    for note in plan.notes:
        console.print(escape(note))
    if trial:
        reading = try_reading(run.model, run.tasks[0].windows)
        console.print(
            f"estimate: reading [bold]{duration(reading.seconds_per_token * tokens)}[/bold], "
            f"peak memory [bold]{reading.peak_memory_bytes / 1e9:.2f} GB[/bold]; choosing and fitting come on top"
        )


def _show_size(console: Console, run: Run, stage: Stage) -> None:
    console.rule("Training", align="left")
    trainable = sum(parameter.numel() for parameter in stage.trainable(run.model).values())
    heads = sum(parameter.numel() for parameter in run.model.head_parameters().values())
    total = run.world.files.num_parameters + (heads if run.tuner.trains_base_weights else trainable)
    route = run.model.route
    console.print(f"trains {trainable:,} of {total:,} parameters ({share_text(trainable / total)})")
    console.print(
        f"{counted(stage.total_updates, 'update')} of {counted(stage.optim.batch_size, 'row')}, {run.runtime.precision}"
    )
    most = stage.optim.max_updates
    if most is not None and stage.total_updates < most and run.recipe.optim.total_updates is None:
        console.print(f"optim.max_updates: {most:,} is not reached within optim.epochs: {stage.optim.epochs:g}")
    packed = "rows packed without padding" if route.packs else "rows padded: packing is not right for this model"
    head = "output layer at supervised positions" if route.splits_head else "the model's own output layer"
    console.print(packed if run.world.first.train.form else f"{packed}; {head}")


def _show_trial(console: Console, trial: Trial, num_updates: int) -> None:
    console.print(
        f"measured on {trial.num_updates} real updates, thrown away: "
        f"{trial.tokens_per_second:,.0f} tokens/s, {trial.seconds_per_update:.2f} s an update"
    )
    console.print(
        f"estimate: training [bold]{duration(trial.seconds_per_update * num_updates)}[/bold], "
        f"peak memory [bold]{trial.peak_memory_bytes / 1e9:.2f} GB[/bold]; scoring comes on top"
    )
