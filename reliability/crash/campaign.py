"""The campaign: each workload is run once in peace, then killed again and again, finished, and compared."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reliability.crash.outcome import artifact_of, cache_of, differences, leftovers
from reliability.crash.victim import Moment, import_all, run_in
from reliability.crash.workloads import TEACHERS, WORKLOADS, lay_out, write_recipe

MOST_KILLS = 3
"""Of one run, one after another, before it may finish."""


@dataclass(frozen=True)
class Straight:
    """A run that nobody disturbed: what it left, how long it took, how often it changed a file."""

    artifact: dict[str, str]
    cache: dict[str, str]
    seconds: float
    writes: int


@dataclass
class Tally:
    """What came of one workload's kills. A kill is survived if the run it hit ends as if there had been none."""

    technique: str
    runs: int = 0
    by_time: int = 0
    by_write: int = 0
    survived: int = 0
    faults: list[str] = field(default_factory=list)
    where: Counter[str] = field(default_factory=Counter)
    """How many of the kills left a run in which state: nothing yet, begun, training, saved."""

    @property
    def kills(self) -> int:
        """How many processes were killed."""
        return self.by_time + self.by_write


def prepare(root: Path, *, teachers: Sequence[str] = tuple(TEACHERS)) -> None:
    """Write models, rows and teachers into `root`, and import what runs import."""
    shutil.rmtree(root, ignore_errors=True)
    lay_out(root)
    for name in teachers:
        run_in_peace(root / name)


def kill_all(
    root: Path, *, kills: int, seed: int, only: Sequence[str] = tuple(WORKLOADS)
) -> Iterator[tuple[str, Tally]]:
    """Yield the tally of each workload of `only` after at least `kills` of its processes were killed in `root`."""
    for name in only:
        folder = root / name.replace(" ", "-")
        write_recipe(folder / "straight", WORKLOADS[name])
        yield name, _campaign(folder, name, kills, random.Random(f"{seed} {name}"))


def _campaign(folder: Path, name: str, kills: int, draw: random.Random) -> Tally:
    # what is laid out lies one folder above a run's own
    for path in folder.parent.iterdir():
        link = folder / path.name
        if path != folder and not link.exists() and path.name.split(".")[0] in _SHARED:
            link.symlink_to(path)
    straight = run_in_peace(folder / "straight")
    tally = Tally(WORKLOADS[name].technique)
    while tally.kills < kills:
        tally.runs += 1
        trial = folder / f"trial-{tally.runs}"
        write_recipe(trial, WORKLOADS[name])
        told = _kill_and_finish(trial, straight, tally, draw)
        if told:
            tally.faults.append(told)
        else:
            shutil.rmtree(trial)
    return tally


_SHARED = ("llama", "bert", "teacher", "lamps", "words", "labelled", *TEACHERS)


def run_in_peace(folder: Path) -> Straight:
    """Run the recipe in `folder`, import here what it has imported, and return what it left."""
    counted = folder / "counted.txt"
    started = time.monotonic()
    ended = run_in(folder, counted=counted)
    seconds = time.monotonic() - started
    assert ended.code == 0, ended.said
    writes, *modules = counted.read_text(encoding="utf-8").splitlines()
    import_all(modules)
    return Straight(artifact_of(folder / "out"), cache_of(folder / "cache"), seconds, int(writes))


def _moment(straight: Straight, draw: random.Random) -> Moment:
    """Draw a moment of a run's life: half of them by the clock, half at one of its changes to a file, or just after."""
    if draw.random() < 0.5:
        return Moment(draw.uniform(0.0, straight.seconds))
    return Moment(draw.choice([0.0, 0.0, draw.uniform(0.0, 0.003)]), draw.randint(1, straight.writes))


def _kill_and_finish(trial: Path, straight: Straight, tally: Tally, draw: random.Random) -> str:
    """Kill the run in `trial` up to `MOST_KILLS` times, let it finish; return what is wrong, if anything."""
    moments: list[Moment] = []
    for _ in range(draw.randint(1, MOST_KILLS)):
        moment = _moment(straight, draw)
        ended = run_in(trial, moment)
        if ended.code == 0:
            break
        if ended.code != -signal.SIGKILL:
            return f"after {moments} it would not go on: {ended.said[-800:]}"
        moments.append(moment)
        tally.by_time += moment.write is None
        tally.by_write += moment.write is not None
        tally.where[_state(trial)] += 1
    ended = run_in(trial)
    if ended.code != 0:
        return f"after {moments} it did not finish: {ended.said[-800:]}"
    wrong = [f"differs: {name}" for name in differences(straight.artifact, artifact_of(trial / "out"))]
    wrong += [f"in the cache: {name}" for name in differences(straight.cache, cache_of(trial / "cache"))]
    wrong += [f"left behind: {name}" for name in leftovers(trial)]
    if wrong:
        return f"after {moments}: {'; '.join(wrong[:8])}"
    tally.survived += len(moments)
    return ""


def _state(trial: Path) -> str:
    out = trial / "out"
    if (out / "artifact.json").is_file():
        return "after the artifact was complete"
    if any((out / name).is_dir() for name in ("adapter", "model", "heads", "estimators")):
        return "while the artifact was written"
    if any((trial / "cache" / "stages").glob("[!.]*")):
        return "between and in later stages"
    if (out / "checkpoints").is_dir():
        return "in the first stage, after a checkpoint"
    return "before a first checkpoint or fit" if (out / "run.json").is_file() else "before run.json was there"
