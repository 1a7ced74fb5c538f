"""What a teacher makes of every training row, as logits of its head: made once, on disk, read a batch at a time.

<cache>/lessons/<fingerprint>/   logits.npy    [rows, C] float32, in the teacher's own order of labels
                                 lessons.json  what made them, and the file's SHA-256

The fingerprint holds the teacher, its task, the rows' own content and how the teacher lays them; neither temperature
nor the student, so students of any loss, size and tokenizer share them. Kept in parts until complete (`parts.py`).
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tenfold.data.batch import Batch
from tenfold.data.labelled import Labelled
from tenfold.data.sources import Rows
from tenfold.engine.log import Log
from tenfold.engine.runtime import Runtime
from tenfold.files import atomic_folder, one_at_a_time, sha256_text
from tenfold.models.trunk import Trunk
from tenfold.paths import cache_folder
from tenfold.tasks.labels import LabelKind
from tenfold.teaching.classes import Alignment, ClassTeacher
from tenfold.teaching.coding import Array
from tenfold.teaching.parts import read_in_parts, seal, sealed_facts

ROWS_PER_PART = 512
FORMAT = 1
"""Raise it when the same teacher and rows would give other files."""


@dataclass(frozen=True)
class ClassLessons:
    """A teacher's logits for one table of rows; `fingerprint` and `alignment` tell them from any others."""

    fingerprint: str
    alignment: Alignment
    folder: Path = field(repr=False)

    def logits(self, batch: Batch) -> Tensor:
        """Return the logits for `batch`, whose rows are numbered as in the table: [N, C] in the student's labels."""
        return self.alignment.outputs(torch.from_numpy(self._values[list(batch.rows)]))

    @cached_property
    def _values(self) -> Array:
        values: Array = np.load(self.folder / "logits.npy", mmap_mode="r", allow_pickle=False)
        return values


def class_lessons(
    teacher: ClassTeacher,
    rows: Rows,
    alignment: Alignment,
    *,
    runtime: Runtime,
    load: Callable[[], Trunk],
    log: Log,
    stop_asked: Callable[[], bool],
) -> ClassLessons:
    """Return what the teacher makes of all `rows`, asked now unless an earlier run has.

    Raises:
        Interrupted: `stop_asked()` came true; the parts that were done are kept.
    """
    kind, name = teacher.kind(), teacher.teacher.name
    settings = json.dumps(["classes", FORMAT, teacher.task, str(runtime.compute_dtype), runtime.device.type])
    key = sha256_text(teacher.teacher.sha256, rows.fingerprint, kind.renderer.fingerprint, settings)
    folder = cache_folder("lessons") / key
    lessons = ClassLessons(key, alignment, folder)

    def write_part(part: Path, numbers: list[int]) -> None:
        with atomic_folder(part) as partial:
            np.save(partial / "logits.npy", _read(load(), kind, rows, numbers))
            seal(partial, {})

    unfinished = folder.with_name(f"{key}.unfinished")
    with one_at_a_time(folder):
        if sealed_facts(folder) is not None:
            shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed as it had just made all of it
            log.write("note", text=f"what {name} makes of these rows is there already")
            return lessons
        started = time.perf_counter()
        log.write("note", text=f"{name} reads {len(rows):,} rows, once")
        parts = read_in_parts(unfinished, len(rows), ROWS_PER_PART, write_part, stop_asked=stop_asked)
        shutil.rmtree(folder, ignore_errors=True)  # a damaged one, or it would have been opened
        with atomic_folder(folder) as partial:
            read = [np.load(part / "logits.npy", allow_pickle=False) for part in parts]
            np.save(partial / "logits.npy", np.concatenate(read))
            seal(partial, {"teacher": name, "task": teacher.task, "rows": len(rows)})
        shutil.rmtree(unfinished)
        log.write("note", text=f"{len(rows):,} rows in {time.perf_counter() - started:.0f} s")
    return lessons


def _read(model: Trunk, kind: LabelKind, rows: Rows, numbers: list[int]) -> Array:
    """Return the logits of the rows, [N, C] float32."""
    examples = [rows.example(number) for number in numbers]
    questions = [example for example in examples if isinstance(example, Labelled)]
    assert len(questions) == len(numbers), "only rows with labels come here"
    found = kind.logits(model, [laid.ids for laid in kind.renderer.lay(questions)])
    values: Array = torch.stack(found).float().numpy()
    return values
