"""What an artifact is for: answer prompts, score rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenfold.artifact import Artifact
from tenfold.data.examples import SEPARATORS, Example, RowFault, Turn, to_question
from tenfold.data.formats import PROMPTS
from tenfold.data.gate import require_whole_replies
from tenfold.data.prepare import items, prepare
from tenfold.data.render import Renderer
from tenfold.data.sources import open_rows
from tenfold.errors import DataError, Problem, UserError
from tenfold.evaluation.generate import generate
from tenfold.evaluation.score import score_task
from tenfold.evaluation.scorecard import Score
from tenfold.files import require_folder, write_atomic

DEFAULT_NEW_TOKENS = 256
"""Longest answer to a prompt, in tokens, where the command does not say."""


@dataclass(frozen=True)
class Question:
    """Something to answer, and the answer that the row holds, if it holds one."""

    example: Example
    reference: str | None = None

    @property
    def text(self) -> str:
        """The last turn, for people to read."""
        return self.example.turns[-1].content


def predict_rows(
    folder: Path,
    *,
    prompts: Sequence[str],
    data: str | None,
    columns: Mapping[str, str] | None = None,
    out: Path | None,
    max_new_tokens: int | None,
    base: str | None,
) -> Iterator[str]:
    """Yield one JSON line per prompt and per row of `data`; with `out`, write them there and yield where.

    Raises:
        UserError: the artifact, its base or the rows cannot be used.
    """
    if out is not None:
        require_folder(out.parent)
        if out.exists():
            raise UserError(Problem(str(out), "exists already", remedy="choose another name with --out"))
    artifact = Artifact.open(folder)
    questions = [Question(ask(artifact, [Turn("user", prompt)])) for prompt in prompts]
    if data is not None:
        questions += _read_questions(artifact, data, columns)
    model = artifact.load(base=base)
    renderer = Renderer(model.tokenizer, artifact.recipe.data)
    limit = max_new_tokens or DEFAULT_NEW_TOKENS
    with model.autocasting():
        answers = generate(
            model.network,
            model.tokenizer,
            [renderer.prompt(question.example) for question in questions],
            stop_ids=renderer.stop_ids,
            max_new_tokens=limit,
        )
    lines = [_line(question, answer) for question, answer in zip(questions, answers, strict=True)]
    if out is None:
        yield from lines
        return
    write_atomic(out, "".join(line + "\n" for line in lines))
    yield f"wrote {len(lines)} answers to {out}"


def ask(artifact: Artifact, turns: Sequence[Turn]) -> Example:
    """Return `turns` as an example laid out as the rows were that the artifact learned from."""
    return Example(tuple(turns), separator=SEPARATORS.get(str(artifact.facts["row_format"]), "\n"))


def evaluate_rows(
    folder: Path, *, data: str, columns: Mapping[str, str] | None = None, max_rows: int | None, base: str | None
) -> Score:
    """Return the tuned model's score on the rows of `data`, read by `columns` (without, as the recipe maps them).

    Raises:
        UserError: the artifact, its base or the rows cannot be used, or `data.max_length` cuts a reply.
    """
    artifact = Artifact.open(folder)
    section = artifact.recipe.data
    rows = open_rows(data, format=section.format, columns=section.columns if columns is None else columns)
    model = artifact.load(base=base)
    renderer = Renderer(model.tokenizer, section)
    prepared = prepare(rows, renderer)
    require_whole_replies(prepared, section.max_length)
    return score_task(
        model,
        items(prepared, renderer, max_rows=max_rows or len(rows), seed=0),
        stage="evaluate",
        task=rows.name,
        stop_ids=renderer.stop_ids,
        metrics=artifact.recipe.evaluation.metrics,
        max_new_tokens=artifact.recipe.evaluation.max_new_tokens,
    )


def _read_questions(artifact: Artifact, data: str, columns: Mapping[str, str] | None) -> list[Question]:
    section = artifact.recipe.data
    columns = section.columns if columns is None else columns
    rows = open_rows(data, format=section.format, columns=columns, needed=PROMPTS)
    questions = []
    for origins, chunk in rows.chunks():
        for origin, row in zip(origins, chunk, strict=True):
            try:
                questions.append(Question(*to_question(row, rows.format, rows.columns)))
            except RowFault as fault:
                raise DataError(Problem(origin, str(fault), remedy=fault.remedy)) from None
    return questions


def _line(question: Question, answer: str) -> str:
    line = {"prompt": question.text, "response": answer}
    if question.reference is not None:
        line["reference"] = question.reference
    return json.dumps(line, ensure_ascii=False)
