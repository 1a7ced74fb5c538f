"""Sequential fine-tuning: one task after another, from general to specific, without losing the earlier ones.

Idea: each stage goes on from the one before; switches hold what was learned earlier: old rows among the new ones
(`replay`), a pull towards old values where they mattered (`ewc`) or everywhere (`l2_sp`), the earlier model's answers
as a second target (`self_distillation`).
Source: going from general to specific, Gururangan et al. 2020 (arXiv 2004.10964); replay, Rolnick et al. 2019 (arXiv
1811.11682); EWC, Kirkpatrick et al. 2017 (arXiv 1612.00796); L2-SP, Li et al. 2018 (arXiv 1802.01483);
self-distillation, Li & Hoiem 2016 (arXiv 1606.09282).
When: tasks come one after another, or a general one prepares for a specific one with few rows.
Costs: a stage a task, each scored on every task; EWC a backward pass over `fisher_rows` rows a stage and two copies of
what trains a stage; self-distillation one more forward pass an update; comparisons as many stages as `check` says.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from tenfold.techniques.claims import keeps_general_text
from tenfold.techniques.sequential_check import check
from tenfold.techniques.sequential_claims import cures_help, earlier_tasks_are_kept, the_way_helps
from tenfold.techniques.sequential_options import SequentialOptions
from tenfold.techniques.technique import Plan, Technique

if TYPE_CHECKING:
    from tenfold.engine.stage import Stage, StageResult
    from tenfold.techniques.context import Run


def plan(run: Run, options: SequentialOptions) -> Plan:
    """Return the stages with what is known before anything is trained.

    Raises:
        UserError: a stage's tuner does not fit the model, or a cure does not fit a task.
    """
    from tenfold.techniques.course import Course

    course = Course(run, options)
    course.require_fit()
    stages = course.outline()
    notes = [f"task {task.name} is trained by no stage: it is only scored" for task in course.untrained]
    if options.cures and options.cures != ("replay",):
        notes.append("cures add to the time of an update; the estimate below is of the first stage's updates")
    extra = [stage for stage in stages if "@" in stage.name]
    if extra:
        updates = sum(stage.total_updates for stage in extra)
        notes.append(f"comparisons train {len(extra)} stages more, {updates} updates and {len(extra)} scorings")
    return Plan(tuple(stages), tuple(notes))


def sequential(run: Run, options: SequentialOptions) -> Generator[Stage, StageResult, None]:
    """Yield the first stage, then what is to be compared, then the stages that are kept, each from the one before."""
    from tenfold.techniques.course import Course

    course = Course(run, options)
    course.require_fit()
    if options.compare_straight:
        yield course.straight()
    yield course.first()
    course.remember(course.names[0], 0)
    for mark, cures in (*options.compared.items(), ("", options.cures)):
        yield from course.later(cures, mark=mark)


TECHNIQUE = Technique(
    kind="sequential",
    summary="one task after another, from general to specific, with cures against forgetting",
    when="tasks come one after another, or a general one prepares for a specific one with few rows",
    stages=sequential,
    options=SequentialOptions,
    check=check,
    plan=plan,
    claims=(
        earlier_tasks_are_kept(source="Kirkpatrick et al. 2017, arXiv 1612.00796; forgetting as in arXiv 1801.10112"),
        cures_help(
            source="replay: Rolnick et al. 2019, arXiv 1811.11682; EWC: Kirkpatrick et al. 2017, arXiv 1612.00796; "
            "L2-SP: Li et al. 2018, arXiv 1802.01483; self-distillation: Li & Hoiem 2016, arXiv 1606.09282"
        ),
        the_way_helps(source="Gururangan et al. 2020, arXiv 2004.10964"),
        keeps_general_text(source="Li & Hoiem 2016, arXiv 1606.09282, for the abilities that training is not about"),
    ),
)
