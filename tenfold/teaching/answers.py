"""What a teacher answers to the training prompts: rows for a student to learn from, whatever its tokenizer.

Source: Kim & Rush 2016, "Sequence-Level Knowledge Distillation" (arXiv 1606.07947), section 3.2. They take the
teacher's beam search for its most probable answer, we its greedy one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tenfold.data.examples import with_reply
from tenfold.data.sources import Rows, open_rows
from tenfold.engine.log import Log
from tenfold.errors import DataError, Interrupted, Problem
from tenfold.evaluation.generate import greedy_answers
from tenfold.files import atomic_folder, one_at_a_time, seal_json, sealed_json, sha256_text
from tenfold.models.language_model import LanguageModel
from tenfold.models.processor import Processor
from tenfold.paths import cache_folder
from tenfold.recipe import DataSection
from tenfold.tasks.generation import Generation
from tenfold.teaching.parts import seal, sealed_facts
from tenfold.teaching.teacher import Teacher

ROWS_PER_PART = 256
FORMAT = 1
"""Raise it when the same teacher would give other answers to the same rows."""


@dataclass(frozen=True)
class Answered:
    """Rows with the teacher's replies in place of their own; those it did not finish in time are left out."""

    rows: Rows
    left_out: int


def answered_rows(
    teacher: Teacher,
    rows: Rows,
    data: DataSection,
    *,
    max_new_tokens: int,
    dtype: str,
    load: Callable[[], LanguageModel],
    log: Log,
    stop_asked: Callable[[], bool],
) -> Answered:
    """Return `rows` as the teacher answers them, asked now unless an earlier run has; `load` gives the model.

    Raises:
        DataError: it finished no answer within `max_new_tokens`.
        Interrupted: `stop_asked()` came true; the parts that were done are kept.
    """
    kind = Generation(Processor(teacher.tokenizer, "decoder"), data, format=rows.format)
    settings = json.dumps([FORMAT, max_new_tokens, dtype])
    key = sha256_text(teacher.sha256, rows.fingerprint, kind.renderer.fingerprint, settings)
    folder = cache_folder("answers") / key
    parts = folder.with_name(f"{key}.unfinished")
    with one_at_a_time(folder):
        facts = sealed_facts(folder)
        if facts is not None:
            shutil.rmtree(parts, ignore_errors=True)  # of a run that was killed as it had just written all answers
            log.write("note", text=f"the answers of {teacher.name} to these rows are there already")
        else:
            log.write("note", text=f"{teacher.name} answers {len(rows):,} rows, once")
            questions = [kind.renderer.ask(question.example).input_ids for question in kind.questions(rows)]

            def answer(prompts: list[list[int]]) -> list[str | None]:
                return _answers(load(), kind, prompts, max_new_tokens)

            facts = _write(folder, rows, _replies(parts, questions, answer, stop_asked))
            shutil.rmtree(parts)
    if facts["left_out"] == len(rows):
        raise DataError(
            Problem(
                "technique.teacher",
                f"{teacher.name} finished no answer within {max_new_tokens} tokens",
                remedy="set data.max_new_tokens higher, or take a teacher that answers such prompts",
            )
        )
    found = open_rows(str(folder / "rows.jsonl"), format=rows.format, columns=rows.columns)
    return Answered(found, int(facts["left_out"]))


def _replies(
    parts: Path,
    questions: list[list[int]],
    answer: Callable[[list[list[int]]], list[str | None]],
    stop_asked: Callable[[], bool],
) -> list[str | None]:
    """Return the reply to each of `questions`, a part of them at a time, those in `parts` from an earlier run."""
    replies: list[str | None] = []
    for first in range(0, len(questions), ROWS_PER_PART):
        part = parts / f"{first:09d}.json"
        kept = sealed_json(part)
        if kept is None:
            if stop_asked():
                again = "run the same command again: what the teacher has answered is kept"
                raise Interrupted(Problem("stopped while the teacher answers", "as asked", remedy=again))
            kept = {"replies": answer(questions[first : first + ROWS_PER_PART])}
            seal_json(part, kept)
        replies += kept["replies"]
    return replies


def _answers(model: LanguageModel, kind: Generation, prompts: list[list[int]], max_new_tokens: int) -> list[str | None]:
    """Return the greedy answer to each prompt; None where it did not end in time, or says nothing."""
    with model.autocasting():
        answers = greedy_answers(
            model.network,
            model.tokenizer,
            prompts,
            stop_ids=kind.renderer.stop_ids,
            max_new_tokens=max_new_tokens,
        )
    return [None if answer.is_cut else answer.text or None for answer in answers]


def _write(folder: Path, rows: Rows, replies: list[str | None]) -> dict[str, int]:
    """Write the answered rows, and return how many there are and how many were left out."""
    kept = []
    for number, reply in enumerate(replies):
        if reply is not None:
            row = with_reply(rows.row(number), rows.format, rows.columns, reply)
            kept.append(json.dumps(row, ensure_ascii=False) + "\n")
    facts = {"rows": len(kept), "left_out": len(replies) - len(kept)}
    shutil.rmtree(folder, ignore_errors=True)  # a damaged one, or it would have been opened
    with atomic_folder(folder) as partial:
        (partial / "rows.jsonl").write_text("".join(kept), encoding="utf-8")
        seal(partial, dict(facts))
    return facts
