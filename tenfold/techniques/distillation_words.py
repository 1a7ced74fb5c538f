"""A student that answers in words: the stage that trains on the teacher's answers, or against its distribution."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tenfold.techniques.distillation_claims import STUDENT

if TYPE_CHECKING:
    from tenfold.engine.stage import Learned, Stage
    from tenfold.objectives.distillation import HiddenMatch
    from tenfold.teaching.teacher import OnCall
    from tenfold.techniques.context import Run
    from tenfold.techniques.distillation_options import DistillationOptions

REFERENCES_SEEN = 1000
"""Training rows whose responses say how long an answer of the teacher may be."""


def of_answers(run: Run, teacher: OnCall) -> Stage:
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
        load=teacher.writer,
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


def of_tokens(run: Run, teacher: OnCall, options: DistillationOptions) -> Stage:
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
        source = LiveTeacher(teacher.teacher.sha256, question, blocks, load=teacher.writer)
    else:
        source = lesson_file(
            teacher.teacher,
            task.windows,
            question,
            runtime=run.runtime,
            load=teacher.writer,
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
    return replace(stage, windows=OnPolicyWindows(task.windows, drawing, student, renderer, run.runtime.ranks))


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
