"""Adapter tuning: one small adapter a task on one frozen base, none of them touching another.

Idea: small bottleneck layers inside the blocks of a frozen model learn a task. Each task has adapters of its own, so
tasks never disturb each other; one loaded base serves them all, and fusion lets a task use what others have learned.
Source: Houlsby et al. 2019 (arXiv 1902.00751); Pfeiffer et al. 2021, "AdapterFusion" (arXiv 2005.00247); leaving the
first blocks' adapters out, Rücklé et al. 2021, "AdapterDrop" (arXiv 2010.11918).
When: many tasks on one served base, tasks that come one after another and must not disturb each other.
Costs: a stage a task, with memory of the frozen base plus activations; a few percent of the base's size a task on disk;
answers a little slower than the bare base's. Fusion: one stage more, as many forward passes through adapters as it has.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from tenfold.errors import ModelError, Problem, nearest
from tenfold.recipe import Recipe
from tenfold.techniques.adapters_claims import (
    base_is_restored,
    every_task_rises,
    fusion_helps,
    tasks_do_not_touch,
    trains_few_a_task,
)
from tenfold.techniques.adapters_options import FUSION, AdapterOptions
from tenfold.techniques.technique import Plan, Technique

if TYPE_CHECKING:
    from tenfold.engine.stage import Stage, StageResult
    from tenfold.techniques.context import Run
    from tenfold.techniques.world import World


def plan(run: Run, options: AdapterOptions) -> Plan:
    """Return a stage for each task, and the fusion."""
    from tenfold.techniques.adapters_stages import AdapterStages

    stages = AdapterStages(run, options)
    notes = [f"{len(stages.names)} adapters on one base; `tenfold predict --task NAME` answers by a task's own"]
    return Plan(tuple(stages.all()), tuple(notes) if len(stages.names) > 1 else ())


def adapters(run: Run, options: AdapterOptions) -> Generator[Stage, StageResult, None]:
    """Yield a stage for each task, then the fusion; tell what each adapter is, and what the base is in the end."""
    from tenfold.techniques.adapters_stages import AdapterStages

    stages = AdapterStages(run, options)
    stages.remember_base()
    for place, name in enumerate(stages.names):
        run.let_adapters_answer(name, stages.tuner(name).composition)
        yield stages.own(place)
        stages.remember(name)
    fusion = stages.fusion()
    if fusion is not None:
        stages.score_each_fused()
        run.let_adapters_answer(fusion.tasks[0], stages.fused.composition)
        yield fusion
    stages.report()


def meet(world: World, options: AdapterOptions) -> None:
    """Refuse to leave out the adapters of more blocks than the model can spare.

    Raises:
        ModelError: as said.
    """
    from tenfold.models.layout import find_blocks
    from tenfold.models.load import outline

    count = len(find_blocks(outline(world.files.folder, trust_remote_code=world.recipe.model.trust_remote_code)))
    if options.drop_blocks >= count:
        found = f"found {options.drop_blocks}, and the model has {count} blocks, one of which must keep its adapter"
        raise ModelError(Problem("technique.drop_blocks", found, f"0 to {count - 1}", "lower it"))


def check(recipe: Recipe, options: AdapterOptions) -> list[Problem]:
    """Return what does not fit: another tuner, a fusion of unknown tasks or of fewer than two, taken names."""
    problems = []
    if recipe.tuner.kind != "bottleneck":
        remedy = "set tuner: bottleneck, or technique.kind: parameter_efficient"
        problems.append(
            Problem("tuner.kind", f"{recipe.tuner.kind} is no bottleneck adapter", allowed="bottleneck", remedy=remedy)
        )
    known = ", ".join(recipe.tasks)
    named = {f"technique.fuse.{place}": name for place, name in enumerate(options.fuse)}
    if options.fuse_on is not None:
        named["technique.fuse_on"] = options.fuse_on
    problems += [
        Problem(where, f"no task {name!r}", known, nearest(name, recipe.tasks))
        for where, name in named.items()
        if name not in recipe.tasks
    ]
    if options.fuse and len(set(options.fuse)) < max(2, len(options.fuse)):
        remedy = "name two tasks or more, each once"
        problems.append(Problem("technique.fuse", f"{', '.join(options.fuse)}: nothing to fuse", known, remedy))
    if options.fuse_on is not None and not options.fuse:
        remedy = "name the adapters: fuse: [ONE, ANOTHER]"
        problems.append(Problem("technique.fuse_on", "there is no fusion", remedy=remedy))
    if options.fuse and recipe.tuner.kind == "bottleneck" and recipe.tuner.below:
        found = "adapters that rest on others cannot be fused with them"
        problems.append(Problem("technique.fuse", found, remedy="remove fuse, or tuner.below"))
    taken = [name for name in recipe.tasks if name in ("before", FUSION, "none") and len(recipe.tasks) > 1]
    problems += [
        Problem(f"data.tasks.{name}", f"{name!r} means something else here", remedy="give the task another name")
        for name in taken
    ]
    return problems


TECHNIQUE = Technique(
    kind="adapters",
    summary="one small adapter a task on one frozen base; tasks never disturb each other, and can be fused",
    when="many tasks on one served base, or tasks that come one by one and must not disturb each other",
    stages=adapters,
    options=AdapterOptions,
    check=check,
    meet=meet,
    plan=plan,
    claims=(
        trains_few_a_task(share=0.05, source="Houlsby et al. 2019, arXiv 1902.00751, abstract: 3.6 % a task"),
        every_task_rises(source="Houlsby et al. 2019, arXiv 1902.00751, section 3"),
        tasks_do_not_touch(
            source="Houlsby et al. 2019, arXiv 1902.00751, section 1: 'perfect memory' of earlier tasks"
        ),
        fusion_helps(source="Pfeiffer et al. 2021, arXiv 2005.00247, section 5"),
        base_is_restored(source="Houlsby et al. 2019, arXiv 1902.00751, section 2: the base's weights stay untouched"),
    ),
)
