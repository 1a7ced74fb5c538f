"""What an artifact is for: answer prompts, score rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tenfold.artifact import Artifact
from tenfold.data.formats import FORMATS, PROMPTS, other_format, told_formats
from tenfold.data.gate import require_whole_replies
from tenfold.data.prepare import prepare
from tenfold.data.seen import count_seen
from tenfold.data.sources import Rows, open_rows
from tenfold.errors import DataError, Problem
from tenfold.evaluation.scorecard import Score
from tenfold.files import write_atomic
from tenfold.models.open import processor_of
from tenfold.models.trunk import Trunk
from tenfold.places import require_free
from tenfold.tasks.kind import TaskKind
from tenfold.tasks.task import readable, reopen_kind


def predict_rows(
    folder: Path,
    *,
    prompts: Sequence[str],
    data: str | None,
    columns: Mapping[str, str] | None = None,
    out: Path | None,
    max_new_tokens: int | None,
    base: str | None,
    task: str | None = None,
    adapter: str | None = None,
    drop_blocks: int = 0,
) -> Iterator[str]:
    """Yield one JSON line per prompt and per row of `data`; with `out`, write them there and yield where.

    Raises:
        UserError: the artifact, its base or the rows cannot be used.
    """
    if out is not None:
        require_free(out)
    artifact = Artifact.open(folder)
    name = artifact.task(task)
    rows = None if data is None else _open_rows(artifact, name, data, columns, needed=PROMPTS)
    model = artifact.load(base=base)
    artifact.answer_as(model, name, adapter=adapter, drop_blocks=drop_blocks)
    kind = open_kind(artifact, name, model)
    questions = [kind.question(prompt) for prompt in prompts]
    if rows is not None:
        questions += kind.questions(rows)
    answers = kind.answers(model, questions, max_new_tokens=max_new_tokens)
    lines = [json.dumps(answer, ensure_ascii=False) for answer in answers]
    if out is None:
        yield from lines
        return
    write_atomic(out, "".join(line + "\n" for line in lines))
    yield f"wrote {len(lines)} answers to {out}"


def evaluate_rows(
    folder: Path,
    *,
    data: str,
    columns: Mapping[str, str] | None = None,
    max_rows: int | None,
    base: str | None,
    task: str | None = None,
    adapter: str | None = None,
    drop_blocks: int = 0,
    tell: Callable[[str], None] = lambda note: None,
) -> Score:
    """Return the tuned model's score on the rows of `data`, read by `columns` (without, as the recipe maps them).

    `tell` is given a note where the run has trained on some of them, and which of several tasks was chosen.

    Raises:
        UserError: the artifact, its base or the rows cannot be used, or `data.max_length` cuts a reply.
    """
    artifact = Artifact.open(folder)
    name = artifact.task(task)
    section = artifact.recipe.tasks[name]
    rows = _open_references(artifact, name, data, columns)
    several = len(artifact.recipe.tasks) > 1
    if several and task is None:
        tell(f"taken for the first task, {name!r}: name another with --task ({', '.join(artifact.recipe.tasks)})")
    model = artifact.load(base=base)
    artifact.answer_as(model, name, adapter=adapter, drop_blocks=drop_blocks)
    kind = open_kind(artifact, name, model)
    try:
        prepared = prepare(rows, kind.renderer)
    except DataError as error:
        raise DataError(*error.problems, *_told_of(artifact, name, task)) from None
    require_whole_replies(prepared, section.max_length)
    items = kind.items(prepared, max_rows=max_rows or len(rows), seed=0)
    if seen := count_seen(folder, name, prepared, [item.row for item in items]):
        found = f"{seen} of {len(items)} rows have a prompt that is also among the run's training rows"
        tell(f"{found}: their score says little about new rows")
    title = f"{rows.name}, task {name}" if several else rows.name
    return kind.score(model, items, stage="evaluate", task=title, data=section)


def open_kind(artifact: Artifact, task: str, model: Trunk) -> TaskKind:
    """Return the kind of the artifact's `task`, for the loaded `model`."""
    return reopen_kind(artifact.facts["tasks"][task], processor_of(model), artifact.recipe.tasks[task], task=task)


def _open_references(artifact: Artifact, task: str, data: str, columns: Mapping[str, str] | None) -> Rows:
    """Return the rows of `data` for `task` to be scored on; tells which other task they fit where they do not fit it.

    Raises:
        DataError: they cannot be read, or are rows of another format that would be scored as words.
    """
    try:
        rows = _open_rows(artifact, task, data, columns, needed=FORMATS)
        if columns is None and artifact.recipe.tasks[task].format == "auto":
            _require_own_format(artifact, task, rows)
    except DataError as error:
        others = [name for name in artifact.recipe.tasks if name != task and _fits(artifact, name, data, columns)]
        found = f"rows of this format are of {' or '.join(others)}, and were taken for {task}"
        told = [Problem("--task", found, remedy=f"name it: --task {others[0]}")] if others else []
        raise DataError(*error.problems, *told) from None
    return rows


def _require_own_format(artifact: Artifact, task: str, rows: Rows) -> None:
    """Refuse rows that can be read as `task` wants them and yet are of a format that it does not learn."""
    formats = readable(artifact.facts["tasks"][task], FORMATS)
    there = list(rows.row(0))
    if (other := other_format(there, rows.columns, formats)) is None:
        return
    found = f"columns {', '.join(there)}: rows of format {other}, which this task does not learn"
    text = rows.columns.get("text", "text")
    remedy = f"give rows of such a format; or name the text alone to score it as words: --columns text={text}"
    raise DataError(Problem(rows.name, found, told_formats(formats), remedy))


def _fits(artifact: Artifact, task: str, data: str, columns: Mapping[str, str] | None) -> bool:
    """Whether the rows of `data` are of a format that `task` learns."""
    try:
        rows = _open_rows(artifact, task, data, columns, needed=FORMATS)
        _require_own_format(artifact, task, rows)
    except DataError:
        return False
    return True


def _open_rows(
    artifact: Artifact,
    task: str,
    data: str,
    columns: Mapping[str, str] | None,
    *,
    needed: Mapping[str, tuple[str, ...]],
) -> Rows:
    section = artifact.recipe.tasks[task]
    formats = readable(artifact.facts["tasks"][task], needed)
    chosen = section.columns if columns is None else columns
    try:
        return open_rows(data, format=section.format, columns=chosen, needed=formats)
    except DataError as error:
        if columns is not None or not section.columns or not Path(data).exists():
            raise
        mapped = " ".join(f"{ours}={theirs}" for ours, theirs in section.columns.items())
        remedy = "name those of these rows, such as --columns " + " --columns ".join(
            f"{o}={o}" for o in section.columns
        )
        raise DataError(
            *error.problems, Problem("--columns", f"not given: as in the run, {mapped}", "", remedy)
        ) from None


def _told_of(artifact: Artifact, task: str, asked: str | None) -> list[Problem]:
    """Return what to say of rows that do not fit where they were taken for the first of several tasks."""
    names = list(artifact.facts["tasks"])
    if asked is not None or len(names) == 1:
        return []
    found = f"not given: the rows were taken for the first task, {task!r}"
    return [Problem("--task", found, ", ".join(names), "name the task that these rows are of")]
