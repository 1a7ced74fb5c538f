"""A teacher's likely tokens for every supervised position of some rows: made once, on disk, read a batch at a time.

<cache>/lessons/<fingerprint>/   pieces.bin    all positions, `PIECE` at a time (coding.py), end to end
                                 pieces.npy    where each piece begins, [pieces + 1] int64
                                 rows.npy      which position each row begins with, [rows + 1] int64
                                 tokens.npy    the numbering, [D] int32
                                 lessons.json  what made them, and the files' SHA-256

The fingerprint holds all that decides them: the teacher, the rows and how they were rendered, K, temperature and dtype;
so every run over the same rows finds them. The folder appears when it is complete. What was done of an unfinished one
is kept in parts beside it, so a run that is stopped goes on where it was.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from tenfold.data.batch import Batch
from tenfold.data.windows import Windows
from tenfold.engine.log import Log
from tenfold.engine.runtime import Runtime
from tenfold.files import atomic_folder, one_at_a_time, sha256_text
from tenfold.kernels.linear_distillation import TopTokens, top_of_logits, top_tokens
from tenfold.models.language_model import LanguageModel
from tenfold.models.outputs import outputs
from tenfold.objectives.distillation import Lesson
from tenfold.paths import cache_folder
from tenfold.teaching.coding import Array, Numbering, decode, encode
from tenfold.teaching.parts import read_in_parts, seal, sealed_facts
from tenfold.teaching.teacher import Teacher

ROWS_PER_PART = 512
PIECE = 256
"""Positions deflated together: a sixth smaller than row by row, and a row is still read in less than a millisecond."""

FORMAT = 2
"""Raise it when the same teacher and rows would give other files."""


@dataclass(frozen=True)
class Question:
    """Which lessons are wanted: K tokens at a temperature, among the first `vocabulary` of the teacher's."""

    k: int
    temperature: float
    vocabulary: int


@dataclass(frozen=True)
class LessonFile:
    """The lessons of one table of rows, on disk; equal for equal `fingerprint`, which is all that `repr` tells."""

    fingerprint: str
    folder: Path = field(repr=False)
    k: int
    num_tokens: int
    """Supervised positions."""
    kept_mass: float
    """How much of the teacher's probability its K tokens hold, the mean over positions."""

    @property
    def num_bytes(self) -> int:
        """What the files take on disk."""
        return sum(path.stat().st_size for path in self.folder.iterdir())

    def lesson(self, batch: Batch) -> Lesson:
        """Return the lesson for `batch`, whose rows are numbered as in the table."""
        read = [self.row(number) for number in batch.rows]
        ids, values, rest = (np.concatenate(parts) for parts in zip(*read, strict=True))
        assert len(ids) == batch.num_supervised, "the lessons are those of these rows"
        return Lesson(TopTokens(torch.from_numpy(ids), torch.from_numpy(values), torch.from_numpy(rest)))

    def row(self, number: int) -> tuple[Array, Array, Array]:
        """Return one row's `ids` and `log_probabilities` [S, K] and `log_rest` [S]."""
        first, end = (int(position) for position in self._rows[number : number + 2])
        pieces = range(first // PIECE, -(-end // PIECE))
        read = [self._read(piece, slice(max(0, first - piece * PIECE), end - piece * PIECE)) for piece in pieces]
        ids, values, rest = (np.concatenate(parts) for parts in zip(*(read or [self._read(0, slice(0))]), strict=True))
        return ids, values, rest

    def _read(self, piece: int, wanted: slice) -> tuple[Array, Array, Array]:
        start, end = self._starts[piece : piece + 2]
        return decode(self._bytes[start:end].tobytes(), self.k, self._numbering, wanted)

    @cached_property
    def _bytes(self) -> Array:
        return np.memmap(self.folder / "pieces.bin", dtype=np.uint8, mode="r")

    @cached_property
    def _starts(self) -> Array:
        return self._loaded("pieces.npy")

    @cached_property
    def _rows(self) -> Array:
        return self._loaded("rows.npy")

    def _loaded(self, name: str) -> Array:
        numbers: Array = np.load(self.folder / name, mmap_mode="r", allow_pickle=False)
        return numbers

    @cached_property
    def _numbering(self) -> Numbering:
        return Numbering(np.load(self.folder / "tokens.npy", allow_pickle=False))


def lesson_file(
    teacher: Teacher,
    windows: Windows,
    question: Question,
    *,
    runtime: Runtime,
    load: Callable[[], LanguageModel],
    log: Log,
    stop_asked: Callable[[], bool],
) -> LessonFile:
    """Return the teacher's lessons for all rows of `windows`, made now unless an earlier run has.

    Raises:
        Interrupted: `stop_asked()` came true; the parts that were done are kept.
    """
    prepared = windows.prepared
    settings = json.dumps([FORMAT, vars(question), str(runtime.compute_dtype), runtime.device.type])
    key = sha256_text(teacher.sha256, prepared.fingerprint, settings)
    folder = cache_folder("lessons") / key
    with one_at_a_time(folder):
        found = _opened(folder, key)
        if found is not None:
            shutil.rmtree(
                _unfinished(folder), ignore_errors=True
            )  # of a run that was killed as it had just made it all
            log.write("note", text=f"the lessons of {teacher.name} for these rows are there already")
            return found
        return _made(folder, teacher, windows, question, load=load, log=log, stop_asked=stop_asked)


def _unfinished(folder: Path) -> Path:
    """Return the folder for the parts of what `folder` will hold."""
    return folder.with_name(f"{folder.name}.unfinished")


def _made(
    folder: Path,
    teacher: Teacher,
    windows: Windows,
    question: Question,
    *,
    load: Callable[[], LanguageModel],
    log: Log,
    stop_asked: Callable[[], bool],
) -> LessonFile:
    """Let the teacher read all rows, and keep its lessons in `folder`."""
    prepared = windows.prepared
    started = time.perf_counter()
    log.write("note", text=f"{teacher.name} reads {len(prepared):,} rows, once")
    unfinished = _unfinished(folder)

    def write_part(part: Path, rows: list[int]) -> None:
        _write_part(part, _read(load(), windows, rows, question))

    parts = read_in_parts(unfinished, len(prepared), ROWS_PER_PART, write_part, stop_asked=stop_asked)
    facts = {"teacher": teacher.name, "k": question.k, "temperature": question.temperature, "rows": len(prepared)}
    _write(folder, parts, question, facts)
    shutil.rmtree(unfinished)
    done = _opened(folder, folder.name)
    assert done is not None, "what was just written is sound"
    size = done.num_bytes / max(1, done.num_tokens)
    seconds = time.perf_counter() - started
    held = f"the {question.k} likeliest hold {done.kept_mass:.1%} of its probability"
    log.write("note", text=f"{done.num_tokens:,} tokens in {seconds:.0f} s, {size:.0f} bytes each on disk; {held}")
    return done


def _read(model: LanguageModel, windows: Windows, rows: list[int], question: Question) -> list[TopTokens]:
    """Return the lesson of each of `rows`."""
    lessons: dict[int, TopTokens] = {}
    for batch in windows.padded(not model.route.packs).cut(rows).batches:
        found = ask(model, batch, question).tokens.to(torch.device("cpu"))
        start = 0
        for number, targets in zip(batch.rows, batch.targets.split(batch.lengths), strict=True):
            count = int((targets >= 0).sum())
            lessons[number] = found[start : start + count]
            start += count
    return [lessons[row] for row in rows]


@torch.no_grad()
def ask(model: LanguageModel, batch: Batch, question: Question, *, blocks: tuple[int, ...] = ()) -> Lesson:
    """Return what the teacher `model` says of the batch."""
    found = outputs(model, batch, blocks=blocks)
    vocabulary, k, temperature = question.vocabulary, question.k, question.temperature
    head = found.head
    if head is None:
        return Lesson(top_of_logits(found.states[:, :vocabulary], k=k, temperature=temperature), found.blocks)
    with model.autocasting():
        tokens = top_tokens(
            found.states,
            head.weight[:vocabulary],
            k=k,
            temperature=temperature,
            bias=None if head.bias is None else head.bias[:vocabulary],
            softcap=head.softcap,
            scale=head.scale,
        )
    return Lesson(tokens, found.blocks)


def _write_part(folder: Path, lessons: list[TopTokens]) -> None:
    with atomic_folder(folder) as partial:
        np.save(partial / "ids.npy", torch.cat([each.ids for each in lessons]).numpy().astype(np.int32))
        values = torch.cat([each.log_probabilities for each in lessons]).numpy()
        np.save(partial / "values.npy", values.astype(np.float16))
        np.save(partial / "rest.npy", torch.cat([each.log_rest for each in lessons]).numpy().astype(np.float16))
        np.save(partial / "counts.npy", np.array([len(each) for each in lessons], dtype=np.int64))
        seal(partial, {})


def _pieces(parts: list[Path]) -> Iterator[tuple[Array, Array, Array]]:
    """Yield the positions of all parts, `PIECE` at a time; the last piece may be shorter, or even empty."""
    left: list[Array] = []
    for part in parts:
        read = [np.load(part / f"{name}.npy", allow_pickle=False) for name in ("ids", "values", "rest")]
        left = [np.concatenate(pair) for pair in zip(left, read, strict=True)] if left else read
        while len(left[0]) >= PIECE:
            ids, values, rest = (array[:PIECE] for array in left)
            yield ids, values, rest
            left = [array[PIECE:] for array in left]
    if left:
        ids, values, rest = left
        yield ids, values, rest


def _write(folder: Path, parts: list[Path], question: Question, facts: dict[str, object]) -> None:
    """Number the tokens of all parts by frequency, then encode piece by piece."""
    counts = np.zeros(question.vocabulary, dtype=np.int64)
    for part in parts:
        counts += np.bincount(np.load(part / "ids.npy", allow_pickle=False).ravel(), minlength=len(counts))
    numbering = Numbering.of_counts(counts)
    numbers = numbering.numbers(len(counts))
    shutil.rmtree(folder, ignore_errors=True)  # a damaged one, or it would have been opened
    with atomic_folder(folder) as partial:
        starts, num_tokens, rest_mass = [0], 0, 0.0
        with (partial / "pieces.bin").open("wb") as file:
            for ids, values, rest in _pieces(parts):
                starts.append(starts[-1] + file.write(encode(ids, values, rest, numbers)))
                num_tokens += len(ids)
                rest_mass += float(np.exp(rest.astype(np.float64)).sum())
        np.save(partial / "pieces.npy", np.array(starts, dtype=np.int64))
        lengths = [np.load(part / "counts.npy", allow_pickle=False) for part in parts]
        np.save(partial / "rows.npy", np.cumsum(np.concatenate([[0], *lengths]), dtype=np.int64))
        np.save(partial / "tokens.npy", numbering.tokens)
        told = {"tokens": num_tokens, "kept_mass": 1.0 - rest_mass / max(1, num_tokens)}
        seal(partial, {**facts, **told})


def _opened(folder: Path, key: str) -> LessonFile | None:
    """Return the lessons in `folder`, or None where they are absent or damaged."""
    facts = sealed_facts(folder)
    if facts is None:
        return None
    return LessonFile(key, folder, int(facts["k"]), int(facts["tokens"]), float(facts["kept_mass"]))


@dataclass(frozen=True)
class LiveTeacher:
    """A teacher that stays in memory and answers every batch anew; `sha256` and the question are all `repr` tells."""

    sha256: str
    question: Question
    blocks: tuple[int, ...] = ()
    load: Callable[[], LanguageModel] = field(repr=False, kw_only=True)

    def lesson(self, batch: Batch) -> Lesson:
        """Return the lesson for `batch`, states after `blocks` included."""
        return ask(self.load(), batch, self.question, blocks=self.blocks)
