"""Distillation: a smaller student learns to answer as a larger teacher does.

Idea: a teacher says more than the right answer: how likely it finds every other one. A student that learns from that,
at each token, gets nearer to it than by the answers alone.
Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531); Kim & Rush 2016
(arXiv 1606.07947) for answers as rows; Agarwal et al. 2023, GKD (arXiv 2306.13649) for the student's own answers;
Sanh et al. 2019, DistilBERT (arXiv 1910.01108) for a student made of its teacher's layers, and for hidden states.
When: the model that does the task is too large or too slow to be used, and prompts like those it will meet are there.
Costs: one pass of the teacher over the training rows, kept on disk and paid for once; then one stage on the student.
With hidden states or on-policy rows, the teacher stays in memory and reads every batch.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tenfold.techniques.claims import task_metric_rises
from tenfold.techniques.distillation_claims import (
    ALONE,
    STUDENT,
    TEACHER,
    better_than_alone,
    faster,
    keeps_quality,
    smaller,
)
from tenfold.techniques.distillation_options import DistillationOptions, check
from tenfold.techniques.distillation_start import start
from tenfold.techniques.technique import Plan, Technique

if TYPE_CHECKING:
    from tenfold.engine.stage import Learned, Stage, StageResult
    from tenfold.evaluation.scorecard import Score
    from tenfold.objectives.distillation import HiddenMatch
    from tenfold.tasks.task import Task
    from tenfold.teaching.teacher import OnCall
    from tenfold.techniques.context import Run


REFERENCES_SEEN = 1000
"""Training rows whose responses say how long an answer of the teacher may be."""


def distillation(run: Run, options: DistillationOptions) -> Generator[Stage, StageResult, None]:
    """Score the teacher, take its lessons, yield the student's stage (`compare`: one without them first), time both."""
    from tenfold.engine.store import fingerprint
    from tenfold.evaluation.scorecard import BEFORE
    from tenfold.teaching.teacher import OnCall, find_teacher, seen_by

    teacher = OnCall(find_teacher(options.teacher), run.runtime)
    key = fingerprint(TEACHER, teacher.teacher.sha256, str(run.runtime.compute_dtype), run.runtime.device.type)
    task = seen_by(teacher.teacher, run.world.first, run.recipe)
    run.score_other(TEACHER, task, teacher.model, key=key)
    learning = _of_answers(run, teacher) if options.level == "sequence" else _of_tokens(run, teacher, options)
    teacher.release()
    if options.compare:
        yield run.stage(ALONE)
    yield replace(learning, starts_from=BEFORE)
    teacher.release()
    _time_both(run, teacher, task)


def plan(run: Run, options: DistillationOptions) -> Plan:
    """Return the stages as far as they are known before the teacher has been asked: their loss is plain here."""
    alone = (run.stage(ALONE),) if options.compare else ()
    reads = {
        "logits": "reads every training row once before the student trains, and is let go",
        "sequence": "answers every training prompt once before the student trains, and is let go",
        "on_policy": "stays in memory and reads every batch",
    }[options.level if options.hidden is None else "on_policy"]
    return Plan((*alone, run.stage(STUDENT)), (f"the teacher, {options.teacher}, {reads}",))


def _of_answers(run: Run, teacher: OnCall) -> Stage:
    """Return the stage that trains on the teacher's answers to the training prompts."""
    from tenfold.data.gate import check_signal
    from tenfold.data.prepare import prepare
    from tenfold.teaching.answers import answered_rows
    from tenfold.teaching.teacher import own_words, same_tokens

    task, stage = run.world.first, run.stage(STUDENT)
    alike = same_tokens(teacher.teacher.tokenizer, run.world.tokenizer)
    answered = answered_rows(
        teacher.teacher,
        task.train.rows,
        task.data if alike else own_words(task.data),
        max_new_tokens=_longest_answer(run),
        dtype=str(run.runtime.compute_dtype),
        load=teacher.model,
        log=run.log,
        stop_asked=run.stop_asked,
    )
    if answered.left_out:
        run.log.write("note", text=f"{answered.left_out} rows left out: the teacher did not end its answer in time")
    train = prepare(answered.rows, task.kind.renderer, task=task.name)
    check_signal(
        train, {"validation": task.validation, "test": task.test}, renderer=task.kind.renderer, gate=run.recipe.gate
    )
    windows, optim = replace(task.windows, prepared=train), run.recipe.optim
    return replace(stage, windows=windows, total_updates=windows.total_updates(optim.epochs, optim.max_updates))


def _longest_answer(run: Run) -> int:
    """Return how many tokens the teacher may answer with: what test and training references need."""
    task, seed = run.world.first, run.runtime.seed
    items = task.kind.items(task.train, max_rows=REFERENCES_SEEN, seed=seed)
    open_data = task.data.model_copy(update={"max_new_tokens": None})
    return max(task.kind.settled(items, open_data).max_new_tokens or 1, task.data.max_new_tokens or 1)


def _of_tokens(run: Run, teacher: OnCall, options: DistillationOptions) -> Stage:
    """Return the stage that trains against the teacher's distribution, from disk or live."""
    from tenfold.kernels.linear_distillation import Mixture
    from tenfold.objectives.distillation import Distillation, TeacherSource
    from tenfold.teaching.targets import LiveTeacher, Question, lesson_file
    from tenfold.teaching.teacher import shape_of

    stage, task = run.stage(STUDENT), run.world.first
    vocabulary = min(shape_of(run.world.files).vocabulary, teacher.teacher.shape.vocabulary)
    question = Question(options.top_k, options.temperature, vocabulary)
    hidden, blocks, learned = _hidden(run, teacher, options)
    source: TeacherSource
    if options.level == "on_policy" or hidden is not None:
        source = LiveTeacher(teacher.teacher.sha256, question, blocks, load=teacher.model)
    else:
        source = lesson_file(
            teacher.teacher,
            task.windows,
            question,
            runtime=run.runtime,
            load=teacher.model,
            log=run.log,
            stop_asked=run.stop_asked,
        )
    mixture = Mixture(
        alpha=options.alpha,
        temperature=options.temperature,
        divergence=options.divergence,
        beta=options.beta,
        label_smoothing=run.recipe.optim.label_smoothing,
    )
    stage = replace(stage, objective=Distillation(source, mixture, hidden), learned=learned)
    return _with_own_answers(run, stage, options) if options.level == "on_policy" else stage


def _with_own_answers(run: Run, stage: Stage, options: DistillationOptions) -> Stage:
    from tenfold.data.render import Renderer
    from tenfold.models.language_model import LanguageModel
    from tenfold.teaching.on_policy import Drawing, OnPolicyWindows
    from tenfold.techniques.distillation_options import OnPolicyOptions

    def student() -> LanguageModel:
        assert isinstance(run.model, LanguageModel), "a student answers in words"
        return run.model

    task, asked = run.world.first, options.on_policy or OnPolicyOptions()
    renderer = task.kind.renderer
    assert isinstance(renderer, Renderer), "`start` has refused other rows and models"
    limit = asked.max_new_tokens or task.data.max_new_tokens or run.recipe.data.max_length
    drawing = Drawing(asked.share, asked.every, asked.temperature, limit)
    return replace(stage, windows=OnPolicyWindows(task.windows, drawing, student, renderer))


def _hidden(
    run: Run, teacher: OnCall, options: DistillationOptions
) -> tuple[HiddenMatch | None, tuple[int, ...], Learned | None]:
    """Return which states follow which, the teacher's blocks among them, and what is learned to compare them."""
    import torch

    from tenfold.engine.runtime import derived_seed
    from tenfold.engine.stage import Learned
    from tenfold.models.blocks import evenly_spaced
    from tenfold.objectives.distillation import HiddenMatch
    from tenfold.teaching.teacher import shape_of

    wanted = options.hidden
    if wanted is None:
        return None, (), None
    student, above = shape_of(run.world.files), teacher.teacher.shape
    pairs = wanted.layers or tuple(enumerate(evenly_spaced(student.blocks, above.blocks)))
    projections: tuple[torch.nn.Linear, ...] = ()
    learned = None
    if student.width != above.width:
        with torch.random.fork_rng():
            torch.manual_seed(derived_seed(run.runtime.seed, "projections"))
            projections = tuple(
                torch.nn.Linear(student.width, above.width, bias=False).to(run.runtime.device) for _ in pairs
            )
        parameters = {
            f"projection.{place}.{name}": parameter
            for place, each in enumerate(projections)
            for name, parameter in each.named_parameters()
        }
        learned = Learned(parameters, wanted.learning_rate)
    match = HiddenMatch(wanted.weight, wanted.distance, tuple(mine for mine, _ in pairs), projections)
    return match, tuple(theirs for _, theirs in pairs), learned


def _time_both(run: Run, teacher: OnCall, task: Task) -> None:
    """Time teacher and student in turn, or take the figures of an earlier run; the teacher reads `task`'s prompts."""
    import platform

    from tenfold.engine.store import fingerprint
    from tenfold.evaluation.scorecard import Scorecard
    from tenfold.models.language_model import LanguageModel
    from tenfold.teaching.serving import Served, serving_scores
    from tenfold.techniques.measured import measured_once

    prompts, own = ([item.prompt_ids for item in each.items if item.prompt_ids] for each in (run.world.first, task))
    if not prompts:
        return
    machine = [platform.node(), platform.machine(), str(run.runtime.chosen)]
    key = fingerprint("serving", run.state, teacher.teacher.sha256, *machine)

    def measure() -> Sequence[Score]:
        assert isinstance(run.model, LanguageModel), "a student answers in words"
        merged = teacher.teacher.load_merged(run.runtime)
        return serving_scores({TEACHER: Served(merged, own), STUDENT: Served(run.model, prompts)})

    known = measured_once(STUDENT, "serving", key, measure, log=run.log, stop_asked=run.stop_asked)
    run.evaluation_seconds += known.seconds
    run.timings = Scorecard.from_json(known.scorecard)


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
