"""The story of a run: open its world, score row 0, drive the technique, score again, save. Read this first."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from typing import Any

from tenfold.artifact import Artifact
from tenfold.engine.log import Listener, Log
from tenfold.engine.runtime import open_ranks, open_runtime
from tenfold.engine.stage import Fit, Stage, StageResult
from tenfold.engine.trackers import tracked
from tenfold.output import claim_output
from tenfold.paths import launch
from tenfold.recipe import Recipe, RuntimeSection
from tenfold.saving import save_run
from tenfold.techniques.context import Run
from tenfold.techniques.fits import carry_out
from tenfold.techniques.opened import open_recipe
from tenfold.techniques.technique import find_technique


def run(
    recipe: Recipe, *, listeners: tuple[Listener, ...] = (), stop_asked: Callable[[], bool] = lambda: False
) -> Artifact:
    """Carry out `recipe` and return its artifact; an interrupted run in the same folder goes on where it stopped.

    `listeners` hear every event; training ends after the current update, with a checkpoint, once `stop_asked()` is
    true. Processes that `torchrun` started together train together, and only the first one writes.

    Raises:
        UserError: the recipe, its data or its model cannot be used as asked; nothing was trained.
        RunFailure: the training could not go on; the last checkpoint is kept.
    """
    find_technique(recipe.technique.kind).require_ranks(recipe, launch().count)
    with open_ranks(recipe.runtime) as ranks, ExitStack() as held:
        with ranks.first_ahead():
            opened = open_recipe(recipe)
        technique, options, recipe, world = opened.technique, opened.options, opened.recipe, opened.world
        claim = claim_output(recipe, world.fingerprint, parts=world.parts)
        output = ranks.first(lambda: held.enter_context(claim))
        if output.finished is not None:
            return output.finished
        runtime = open_runtime(_as_begun(recipe.runtime, output.machine), ranks)
        log = Log(output.folder / "log.jsonl" if ranks.is_first else None, listeners)
        if ranks.is_first:
            output.begin(world.fingerprint, recipe, parts=world.parts, machine=runtime.chosen)
            held.enter_context(tracked(recipe, output.folder, log))
        run = Run(world, folder=output.folder, runtime=runtime, log=log, stop_asked=stop_asked)
        technique.begin(run, options)
        if recipe.optim.total_updates is not None:
            run.keep_to_budget(technique.plan(run, options).stages)
        run.score("before")
        for result in drive(run, technique.stages(run, options)):
            run.score(result.name)
        run.subject.put_together(is_merged=run.wants_merged)
        return ranks.first(lambda: save_run(run, technique))


def _as_begun(section: RuntimeSection, machine: Mapping[str, Any]) -> RuntimeSection:
    """Return `section` with what the run chose of the `machine` when it began; threads may be named anew since."""
    named = {"threads": section.threads} if section.threads is not None else {}
    return section.model_copy(update={**machine, **named})


def drive(run: Run, stages: Generator[Stage | Fit, StageResult, None]) -> Generator[StageResult, None, None]:
    """Train (or fit) each stage that the technique yields, yield its result for scoring, and send it back."""
    result: StageResult | None = None
    while True:
        try:
            stage = next(stages) if result is None else stages.send(result)
        except StopIteration:
            return
        result = run.train(stage) if isinstance(stage, Stage) else carry_out(run, stage)
        yield result
