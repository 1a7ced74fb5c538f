"""What would a run cost? One real update on its own rows, thrown away afterwards, with memory and time measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from tenfold.data.batch import Window
from tenfold.data.windows import WindowSource
from tenfold.engine.stage import Stage
from tenfold.engine.training import Training
from tenfold.engine.update import update_once
from tenfold.errors import OutOfMemory, Problem
from tenfold.evaluation.cost import PeakMemory
from tenfold.evaluation.retention import RetentionSet
from tenfold.evaluation.score import score_retention
from tenfold.models.language_model import LanguageModel
from tenfold.models.memory import is_out_of_memory
from tenfold.models.trunk import Trunk
from tenfold.tasks.task import Task

ITEMS_TIMED = 16
"""Rows that are answered to estimate what scoring takes."""

WINDOWS_SEEN = 50
"""How many of the first updates are looked through for the one with the most tokens."""


@dataclass(frozen=True)
class Trial:
    """What a few updates took: the largest of the first ones for memory, usual ones for time."""

    num_updates: int
    peak_memory_bytes: int
    seconds_per_update: float
    tokens_per_second: float
    processor_seconds_per_update: float
    """Of one thread: what it would take, on a CPU, if nobody else used the machine and threads shared it evenly."""


@dataclass(frozen=True)
class Reading:
    """What reading a few rows took."""

    peak_memory_bytes: int
    seconds_per_token: float


def try_reading(model: Trunk, windows: WindowSource) -> Reading:
    """Return what reading without training takes, measured on the first update's rows."""
    window = windows.window(0)
    model.eval()
    with torch.no_grad(), PeakMemory(model.device) as memory:
        model.layers(window.batches[0])
        started = time.perf_counter()
        for batch in window.batches:
            model.layers(batch)
        seconds = time.perf_counter() - started
    return Reading(memory.peak_bytes, seconds / window.num_tokens)


def try_scoring(model: Trunk, task: Task, score: Callable[[Task], object] | None = None) -> float:
    """Return the seconds that scoring all items of `task` takes, from a few; on a CPU if nobody else used it.

    `score` is what scores them, when unset as a stage's end is scored.
    """
    if not task.items:
        return 0.0
    score = partial(_scored, model) if score is None else score
    few = replace(task, items=task.items[:ITEMS_TIMED])
    score(replace(task, items=task.items[:2]))  # first-seen shapes cost once
    return _undisturbed(lambda: score(few), model) * len(task.items) / len(few.items)


def _scored(model: Trunk, task: Task) -> object:
    return task.score(model, stage="trial")


def try_retention(model: LanguageModel, items: RetentionSet) -> float:
    """Return the seconds that scoring general text and knowledge takes, from a few of them; as `try_scoring`."""
    few = replace(items, texts=items.texts[:ITEMS_TIMED], questions=items.questions[:ITEMS_TIMED])
    num_items = len(items.texts) + len(items.questions)
    seconds = _undisturbed(lambda: score_retention(model, few, stage="trial"), model)
    return seconds * num_items / (len(few.texts) + len(few.questions))


def _undisturbed(work: Callable[[], object], model: Trunk) -> float:
    """Return the seconds that `work` takes; on a CPU if nobody else used it and all threads shared it evenly."""
    started, busy = time.perf_counter(), time.process_time()
    work()
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    return min(seconds, busy / torch.get_num_threads()) if model.device.type == "cpu" else seconds


def try_updates(model: Trunk, stage: Stage) -> Trial:
    """Make three real updates on `model` (which is then of no further use) and return what the run would take.

    Raises:
        NonFiniteLoss: a loss is not finite.
        OutOfMemory: the largest of the first updates does not fit.
    """
    training = Training.begin(model, stage)
    seen = [training.windows.window(index) for index in range(min(WINDOWS_SEEN, stage.total_updates))]
    largest = max(seen, key=lambda window: max(batch.num_positions for batch in window.batches))
    usual = sorted(seen, key=lambda window: window.num_tokens)[len(seen) // 2]
    model.train()
    with PeakMemory(model.device) as memory:
        _try(model, stage, largest, training)
        started, busy = time.perf_counter(), time.process_time()
        for _ in range(2):
            update_once(model, stage, usual, training)
        seconds = (time.perf_counter() - started) / 2
        busy = (time.process_time() - busy) / 2 / torch.get_num_threads()
    speed = usual.num_tokens / seconds
    per_update = sum(window.num_tokens for window in seen) / len(seen) / speed
    return Trial(
        num_updates=3,
        peak_memory_bytes=memory.peak_bytes,
        seconds_per_update=per_update,
        tokens_per_second=speed,
        processor_seconds_per_update=busy * per_update / seconds,
    )


def _try(model: Trunk, stage: Stage, window: Window, training: Training) -> None:
    try:
        update_once(model, stage, window, training)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        largest = max(batch.num_positions for batch in window.batches)
        raise OutOfMemory(
            Problem(
                "trial update",
                f"out of memory with {largest:,} tokens at once; a run would halve them until they fit",
                remedy="set runtime.micro_batch_tokens lower, or runtime.gradient_checkpointing: true",
            )
        ) from error
