"""Students of further sizes, trained as the main one is: what does each layer buy, in size, speed and quality?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from tenfold.evaluation.scorecard import BEFORE, RETENTION, Scorecard
from tenfold.evaluation.statistics import Interval
from tenfold.techniques.distillation_claims import SERVING, STUDENT, TEACHER, per_second, share_kept
from tenfold.techniques.distillation_options import DistillationOptions

if TYPE_CHECKING:
    from tenfold.engine.stage import Stage
    from tenfold.models.sources import ModelFiles
    from tenfold.techniques.context import Run

Make = Callable[[int], "ModelFiles"]
"""From a number of layers to the files of such a student."""

Learn = Callable[["Run"], "Stage"]
"""From a run to the stage that trains its model by the teacher."""


def sizes(options: DistillationOptions, *, main: int) -> tuple[int, ...]:
    """Return the numbers of layers that are trained beside the main student, which has `main`, evenly spaced or all."""
    is_even = options.student is None or isinstance(options.student.layers, int)
    return tuple(size for size in options.curve if not (is_even and size == main))


def name_of(layers: int) -> str:
    """Return the name of the stage that trains the student of so many layers."""
    return f"layers-{layers}"


def train(
    run: Run, layers: int, *, make: Make, learn: Learn, timed: Callable[[Run, str], Scorecard]
) -> dict[str, Scorecard]:
    """Train, score and time the student of so many layers, and return its timings by its stage's name.

    The run keeps its scores and what it took; the run's own model is as before. `make` gives the student's files,
    `timed` the timings of the teacher and a run's model.
    """
    name = name_of(layers)
    beside = _beside(run, make(layers))
    beside.train(replace(learn(beside), name=name, starts_from=BEFORE))
    beside.score(name)
    pair = timed(beside, name)
    run.take_over(beside)
    return {name: pair}


def _beside(run: Run, files: ModelFiles) -> Run:
    """Return a run of the same recipe, rows and folder on another model, which has this one's tokenizer."""
    from tenfold.techniques.context import Run
    from tenfold.tuning.identity import identify

    identity = identify(files.folder, run.world.tokenizer, name=files.name)
    world = replace(run.world, files=files, identity=identity)
    beside = Run(world, folder=run.folder, runtime=run.runtime, log=run.log, stop_asked=run.stop_asked)
    beside.budget = run.budget
    return beside


def table(
    card: Scorecard, pairs: Mapping[str, Scorecard], layers: Mapping[str, int]
) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield for the teacher and each student, named by its number of `layers`, its size, speed and quality.

    The largest comes first. `pairs` are the timings of each student beside the teacher, by the student's stage.
    """
    for stage in sorted(layers, key=lambda name: -layers[name]):
        pair = pairs[STUDENT if stage == TEACHER else stage]
        called = "teacher" if stage == TEACHER else "student"
        yield f"{called} of {layers[stage]} layers", {**_speed(pair, stage), **_quality(card, stage)}


def _speed(pair: Scorecard, stage: str) -> dict[str, object]:
    found, teacher = pair.score(stage, SERVING), pair.score(TEACHER, SERVING)
    if found is None or teacher is None:
        return {}
    own, speed = found.measures, per_second(found.measures)
    ratio = teacher.measures["answer_seconds"].ratio_to(own["answer_seconds"])
    return {
        "million parameters": round(own["parameters"].value / 1e6, 2),
        "megabytes": round(own["weight_bytes"].value / 1e6, 1),
        "milliseconds an answer": round(1000 * own["answer_seconds"].value, 2),
        **({} if stage == TEACHER or ratio is None else {"times as fast": _told(ratio)}),
        speed.unit: round(speed.value, 1),
    }


def _quality(card: Scorecard, stage: str) -> dict[str, object]:
    task = next((name for name in card.tasks if name != RETENTION), "")
    found, teacher = card.score(stage, task), card.score(TEACHER, task)
    if found is None or teacher is None:
        return {}
    own = found.primary
    is_alike = stage != TEACHER and own.weights == teacher.primary.weights
    kept = share_kept(own, teacher.primary) if is_alike else None
    return {own.title: _told(own.interval), **({} if kept is None else {"share of the teacher's": _told(kept)})}


def _told(found: Interval) -> str:
    """Return a value with its interval; item by item it is in the scorecard and in the timings."""
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"
