"""What distillation starts from: the teacher is found, the student made, and what cannot be learned refused."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from tenfold.errors import DataError, ModelError, Problem, UserError, collecting
from tenfold.recipe import Recipe
from tenfold.techniques.distillation_labels import LabelLesson, find_lesson, labels_of, misread, teachers_head
from tenfold.techniques.distillation_options import UNREAD_BY_SEQUENCE, DistillationOptions, StudentOptions

if TYPE_CHECKING:
    from tenfold.models.load import Tokenizer
    from tenfold.models.sources import ModelFiles
    from tenfold.teaching.teacher import Shape, Teacher
    from tenfold.techniques.start import Start


def start(recipe: Recipe, options: DistillationOptions) -> Start:
    """Return the student's files and the teacher's hash.

    Raises:
        UserError: what the student cannot be made of, or cannot learn from this teacher, all at once.
    """
    from tenfold.data.formats import LABELLED
    from tenfold.models.load import load_tokenizer
    from tenfold.models.sources import resolve
    from tenfold.teaching.teacher import find_teacher, shape_of
    from tenfold.techniques.start import Start
    from tenfold.tuning.identity import identify

    problems: list[Problem] = []
    files, teacher, lesson, format = None, None, None, _format(recipe)
    with collecting(problems):
        files = resolve(recipe.model)
    with collecting(problems):
        teacher = find_teacher(options.teacher)
        if format in LABELLED:
            problems += misread(options, format)
            lesson = find_lesson(teacher, next(iter(recipe.tasks)), format, labels_of(recipe))
        elif format is not None:
            _require_words(teacher)
    if problems or files is None or teacher is None:
        raise UserError(*problems)
    _require_sizes(options, files, teacher)
    if options.student is not None:
        files = _make_student(recipe, options.student, files, teacher, lesson)
    tokenizer = load_tokenizer(files.folder)
    student = shape_of(files)
    if identify(files.folder, tokenizer, name=files.name).sha256 == teacher.sha256:
        found = f"{teacher.name} is the student itself: there is nothing to learn from it"
        remedy = "name another model or a run's folder, or make the student smaller: technique.student"
        problems.append(Problem("technique.teacher", found, remedy=remedy))
    if lesson is None:
        problems += _unfit_words(options, files, teacher, format)
        problems += [] if options.level == "sequence" else _misfits(options, student, teacher.shape)
    if problems:
        raise ModelError(*problems)
    return Start(files, {"teacher": teacher.sha256})


def _format(recipe: Recipe) -> str | None:
    """Return the format of the training rows; None where they cannot be read, which is told elsewhere."""
    from tenfold.data.sources import open_rows

    (data,) = recipe.tasks.values()
    with suppress(DataError):
        return open_rows(str(data.train), format=data.format, columns=data.columns).format
    return None


def _unfit_words(
    options: DistillationOptions, files: ModelFiles, teacher: Teacher, format: str | None
) -> list[Problem]:
    """Return what keeps a student from learning this teacher's words."""
    from tenfold.models.load import load_tokenizer
    from tenfold.teaching.teacher import require_writer, same_tokens

    problems: list[Problem] = []
    if format == "text" and options.level != "logits":
        found = f"level: {options.level} answers prompts, and raw text asks nothing"
        remedy = "set level: logits, or name rows with prompts"
        problems.append(Problem("technique.level", found, remedy=remedy))
    for each in (files, teacher.files):
        with collecting(problems):
            require_writer(each)
    if options.level != "sequence" and not same_tokens(load_tokenizer(files.folder), teacher.tokenizer):
        found = "teacher and student have different tokenizers, so their tokens cannot be compared one by one"
        problems.append(Problem("technique.level", found, remedy=_to_sequence(options)))
    return problems


def _to_sequence(options: DistillationOptions) -> str:
    """Return how to learn from the teacher's text instead, with what would then be left unread."""
    unread = [name for name in UNREAD_BY_SEQUENCE if name in options.model_fields_set]
    also = f", and remove {', '.join(unread)}" if unread else ""
    return f"set level: sequence, which learns from its text{also}"


def _require_words(teacher: Teacher) -> None:
    if teacher.artifact is None:
        return
    tasks = {name: str(facts["kind"]) for name, facts in teacher.artifact.facts["tasks"].items()}
    others = sorted({*tasks.values()} - {"generation"})
    if not others:
        return
    found = f"{teacher.name} learned {', '.join(others)}, and the rows are answered in words"
    allowed, remedy = "a run on rows that are answered in words", ""
    written = [name for name, kind in tasks.items() if kind == "generation"]
    if written:
        found = f"{teacher.name} is a run of several tasks: {', '.join(others)} beside words ({', '.join(written)})"
        remedy = f"train a run on the rows of {written[0]} alone, and name its folder"
    raise ModelError(Problem("technique.teacher", found, allowed, remedy))


def _require_sizes(options: DistillationOptions, files: ModelFiles, teacher: Teacher) -> None:
    """Check that the students of the curve have no more layers than what they are made of."""
    from tenfold.teaching.teacher import shape_of

    of_teacher = options.student is not None and options.student.of == "teacher"
    name, blocks = (teacher.name, teacher.shape.blocks) if of_teacher else (files.name, shape_of(files).blocks)
    over = [size for size in options.curve if size > blocks]
    if over:
        found = f"{', '.join(map(str, over))} layers of {name}, which has {blocks}"
        raise ModelError(Problem("technique.curve", found, f"at most {blocks} layers"))


def curve_student(
    recipe: Recipe, options: DistillationOptions, layers: int, teacher: Teacher, lesson: LabelLesson | None
) -> ModelFiles:
    """Return the files of a student of so many layers of what the recipe's own student is made of."""
    from tenfold.models.sources import resolve

    wanted = StudentOptions(layers=layers, of="model" if options.student is None else options.student.of)
    return _make_student(recipe, wanted, resolve(recipe.model), teacher, lesson)


def _make_student(
    recipe: Recipe, wanted: StudentOptions, files: ModelFiles, teacher: Teacher, lesson: LabelLesson | None
) -> ModelFiles:
    from tenfold.models.blocks import evenly_spaced
    from tenfold.models.load import load_tokenizer
    from tenfold.teaching.student import plain_origin, random_student, student_of_blocks, teacher_origin
    from tenfold.teaching.teacher import shape_of

    seed = recipe.runtime.seed
    if wanted.of == "teacher":
        _require_merging(teacher)
        origin, shape = teacher_origin(teacher, seed=seed), teacher.shape
    else:
        origin, shape = plain_origin(files, load_tokenizer(files.folder)), shape_of(files)
    if wanted.config is not None:
        _require_vocabulary(wanted.config, origin.tokenizer)
        return random_student(origin, wanted.config, seed=seed)
    assert wanted.layers is not None, "one of the two is given"
    asked = wanted.layers if isinstance(wanted.layers, int) else max(wanted.layers) + 1
    if asked > shape.blocks:
        found = f"{asked} layers of {origin.name}, which has {shape.blocks}"
        if not isinstance(wanted.layers, int):
            found = f"layer {asked - 1} of {origin.name}, whose last one is {shape.blocks - 1}"
        raise ModelError(Problem("technique.student.layers", found, f"at most {shape.blocks} layers, from 0"))
    blocks = evenly_spaced(asked, shape.blocks) if isinstance(wanted.layers, int) else wanted.layers
    head = teachers_head(recipe, lesson) if lesson is not None and wanted.of == "teacher" else None
    return student_of_blocks(origin, blocks, head=head)


def _require_vocabulary(config: Mapping[str, object], tokenizer: Tokenizer) -> None:
    """Check that a new student has an embedding for every token that its tokenizer gives."""
    size, least = config.get("vocab_size"), max(tokenizer.get_vocab().values()) + 1
    if isinstance(size, int) and size < least:
        found = f"{size} tokens, and the student's tokenizer numbers them from 0 to {least - 1}"
        raise ModelError(Problem("technique.student.config.vocab_size", found, f"at least {least}", "remove it"))


def _require_merging(teacher: Teacher) -> None:
    """Check that what a teacher has learned is in layers that can be taken."""
    from tenfold.tuning.merging import can_merge

    if teacher.is_adapter and teacher.artifact is not None and not can_merge(teacher.artifact.recipe.tuner):
        kind = teacher.artifact.recipe.tuner.kind
        found = f"layers of {teacher.name}, whose {kind} adapter cannot be merged into them"
        raise ModelError(Problem("technique.student.of", found, remedy="set of: model, or tune the teacher by lora"))


def _misfits(options: DistillationOptions, student: Shape, teacher: Shape) -> list[Problem]:
    problems = []
    smallest = min(student.vocabulary, teacher.vocabulary)
    if options.top_k > smallest:
        found = f"{options.top_k} tokens, of a vocabulary of {smallest}"
        problems.append(Problem("technique.top_k", found, f"at most {smallest}"))
    if options.hidden is None:
        return problems
    if options.hidden.layers is None and student.blocks > teacher.blocks:
        found = f"the student's {student.blocks} layers cannot be spread over the teacher's {teacher.blocks}"
        problems.append(Problem("technique.hidden.layers", found, remedy="name pairs, such as [[0, 0], [3, 1]]"))
    for mine, theirs in options.hidden.layers or ():
        if not (0 <= mine < student.blocks and 0 <= theirs < teacher.blocks):
            found = f"[{mine}, {theirs}] names a layer that is not there"
            allowed = f"student's 0 to {student.blocks - 1}, teacher's 0 to {teacher.blocks - 1}"
            problems.append(Problem("technique.hidden.layers", found, allowed))
    return problems
