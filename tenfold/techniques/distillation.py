"""Distillation: a smaller student learns to answer as a larger teacher does.

Idea: a teacher says more than the right answer: how likely it finds every other one. A student that learns from that,
at each token or for each row's label, gets nearer to it than by the answers alone.
Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531); Kim & Rush 2016
(arXiv 1606.07947) for answers as rows; Agarwal et al. 2023, GKD (arXiv 2306.13649) for the student's own answers;
Sanh et al. 2019, DistilBERT (arXiv 1910.01108) for a student made of its teacher's layers, and for hidden states.
When: the model that does the task is too large or too slow to be used, and prompts like those it will meet are there.
Costs: one pass of the teacher over the training rows, kept on disk and paid for once; then one stage on the student.
With hidden states or on-policy rows, the teacher stays in memory and reads every batch.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from tenfold.techniques import distillation_curve as curve
from tenfold.techniques.claims import task_metric_rises
from tenfold.techniques.distillation_claims import (
    ALONE,
    STUDENT,
    better_than_alone,
    faster,
    keeps_quality,
    smaller,
)
from tenfold.techniques.distillation_lessons import Lessons
from tenfold.techniques.distillation_options import DistillationOptions, check
from tenfold.techniques.distillation_start import start
from tenfold.techniques.technique import Plan, Technique

if TYPE_CHECKING:
    from tenfold.engine.stage import Stage, StageResult
    from tenfold.techniques.context import Run


def distillation(run: Run, options: DistillationOptions) -> Generator[Stage, StageResult, None]:
    """Score the teacher, take its lessons, yield the student's stage (`compare`: one without them first), time both.

    Students of further sizes (`curve`) come before it, so that the last stage is the one that is saved.
    """
    from tenfold.evaluation.scorecard import BEFORE, Scorecard

    lessons = Lessons(run, options)
    lessons.score_teacher()
    pairs: dict[str, Scorecard] = {}
    for layers in curve.sizes(options, main=lessons.layers[STUDENT]):
        pairs |= curve.train(run, layers, make=lessons.student, learn=lessons.stage, timed=lessons.timed)
        lessons.layers[curve.name_of(layers)] = layers
    learning = lessons.stage(run)
    lessons.release()
    if options.compare:
        yield run.stage(ALONE)
    yield replace(learning, starts_from=BEFORE)
    lessons.release()
    pairs[STUDENT] = lessons.timed(run, STUDENT)
    run.keep_timings(pairs[STUDENT].scores)
    for name in (name for name in pairs if name != STUDENT):
        run.keep_timings(score for score in pairs[name].scores if score.stage == name)
    if options.curve:
        for name, figures in curve.table(run.scorecard, pairs, lessons.layers):
            run.report(name, figures)


def plan(run: Run, options: DistillationOptions) -> Plan:
    """Return the stages as far as they are known before the teacher has been asked.

    With hidden states the student's is whole, teacher and all. Elsewhere its loss is plain here.
    """
    from tenfold.teaching.teacher import find_teacher, shape_of

    alone = (run.stage(ALONE),) if options.compare else ()
    reads = {
        "logits": "reads every training row once before the student trains, and is let go",
        "sequence": "answers every training prompt once before the student trains, and is let go",
        "on_policy": "stays in memory and reads every batch",
    }
    how = options.level if options.hidden is None else "on_policy"
    is_whole = options.hidden is not None and options.level != "on_policy"  # drawing replies is too long for a trial
    held = find_teacher(options.teacher).num_parameters if how == "on_policy" and not is_whole else 0
    notes = [f"the teacher, {options.teacher}, {reads[how]}"]
    layers = shape_of(run.world.files).blocks
    others = curve.sizes(options, main=layers)
    if others:
        told = ", ".join(map(str, others))
        notes.append(
            f"the curve's students have {told} layers; what one takes is told for the {layers} of the main one"
        )
    stages = tuple(run.stage(curve.name_of(size)) for size in others)
    stages += (*alone, Lessons(run, options).stage(run) if is_whole else run.stage(STUDENT))
    return Plan(
        stages,
        tuple(notes),
        held_bytes=held * run.runtime.compute_dtype.itemsize,
        tried=len(stages) - 1 if is_whole else 0,
    )


TECHNIQUE = Technique(
    kind="distillation",
    summary="a smaller student learns to answer as a larger teacher does",
    when="the model that does the task is too large or too slow, and training prompts are there",
    stages=distillation,
    options=DistillationOptions,
    check=check,
    plan=plan,
    start=start,
    claims=(
        smaller(source="Sanh et al. 2019, arXiv 1910.01108, section 4: 40 % smaller"),
        faster(source="Sanh et al. 2019, arXiv 1910.01108, section 4: 60 % faster"),
        keeps_quality(source="Sanh et al. 2019, arXiv 1910.01108, section 4: 97 % of its score"),
        better_than_alone(source="Hinton et al. 2015, arXiv 1503.02531, section 3"),
        task_metric_rises(source="Kim & Rush 2016, arXiv 1606.07947, section 4"),
    ),
)
