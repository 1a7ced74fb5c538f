"""One run of a comparison: its recipe on disk, a process that carries it out, and how that ended."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Literal, Protocol

from tenfold.artifact import Artifact
from tenfold.errors import Interrupted, TenfoldError
from tenfold.files import write_atomic
from tenfold.recipe import Recipe, dump_recipe

State = Literal["waiting", "running", "done", "failed"]

RECIPES = "recipes"
"""The folder, in the comparison's, where the recipe of each run is written as it begins."""

POLL_SECONDS = 0.5
LINES_KEPT = 40
"""Of what a failed process said at last."""


@dataclass(frozen=True)
class Job:
    """A recipe to carry out; `name` tells it from the comparison's others."""

    name: str
    entrant: str
    recipe: Recipe
    folder: Path
    """The comparison's folder."""
    ranked_by: tuple[str, ...] = ()
    """The tasks by which it is ranked; when empty, its first one."""

    @property
    def recipe_path(self) -> Path:
        """Where its recipe stands."""
        return self.folder / RECIPES / f"{self.name}.yaml"

    @property
    def said_path(self) -> Path:
        """Where what its process said stands."""
        return self.folder / RECIPES / f"{self.name}.log"

    @property
    def artifact(self) -> Artifact | None:
        """What it left behind, None where it is not finished."""
        try:
            return Artifact.open(self.recipe.output)
        except TenfoldError:
            return None

    def shed(self) -> None:
        """Remove the weights that it left behind, if it is finished: its scores and its recipe stay."""
        artifact = self.artifact
        if artifact is not None:
            shutil.rmtree(artifact.weights, ignore_errors=True)

    def write(self) -> None:
        """Write the recipe, as `tenfold run` reads it."""
        write_atomic(self.recipe_path, dump_recipe(self.recipe))


@dataclass(frozen=True)
class Report:
    """What a job is up to."""

    job: Job
    state: State
    told: str = ""
    """Of a running one how far it is, of a failed one why."""


Hear = Callable[[Report], None]


@dataclass(frozen=True)
class Failure:
    """Why a job did not finish."""

    why: str
    was_stopped: bool
    """Whether somebody else's signal ended it, not it itself: another try goes on from its last checkpoint."""


class Executor(Protocol):
    """Carries out jobs, wherever that is; those that are finished already are left alone."""

    @property
    def terms(self) -> tuple[str, ...]:
        """What a reader of the comparison should know of where its runs were made, a sentence each."""
        ...

    def at_once(self, recipe: Recipe) -> int:
        """Return how many runs like `recipe` go side by side."""
        ...

    def carry_out(self, jobs: Sequence[Job], hear: Hear) -> dict[str, str]:
        """Return for each job that failed, by name, why; `hear` is told of every change."""
        ...


class HereOneByOne:
    """Carries out jobs on this machine, one after the other: two at once would take each other's time."""

    terms: tuple[str, ...] = ()

    def at_once(self, recipe: Recipe) -> int:
        """Return 1."""
        return 1

    def carry_out(self, jobs: Sequence[Job], hear: Hear) -> dict[str, str]:
        """Return for each job that failed, by name, why."""
        failed = {}
        for job in jobs:
            if job.artifact is not None:
                hear(Report(job, "done"))
                continue
            failure = carry_out(job, hear)
            if failure is not None:
                failed[job.name] = failure.why
        return failed


def carry_out(job: Job, hear: Hear) -> Failure | None:
    """Run `job` in a process of its own, which ends with this one; return None, or why it failed.

    An interrupt is passed on: the run writes a checkpoint and ends, and so does the comparison.
    """
    job.write()
    hear(Report(job, "running", "begins"))
    pipe = subprocess.PIPE
    with (
        job.said_path.open("w", encoding="utf-8") as said,
        subprocess.Popen(command(job), stdin=pipe, stdout=said, stderr=subprocess.STDOUT) as process,
    ):
        ended: SimpleQueue[int] = SimpleQueue()
        # an interrupt inside Popen.wait can leave its lock taken for good, one inside Thread.join takes the thread for
        # ended: so a thread waits, which gets none, and this one looks into a queue
        waiting = Thread(target=lambda: ended.put(process.wait()), daemon=True)
        waiting.start()
        try:
            while process.returncode is None:
                try:
                    ended.get(timeout=POLL_SECONDS)
                except Empty:
                    hear(Report(job, "running", progress(job)))
        except KeyboardInterrupt:
            # it may have had the terminal's own already: a second one changes nothing
            process.send_signal(signal.SIGTERM)
            waiting.join()
            raise
    if process.returncode == 0:
        hear(Report(job, "done"))
        return None
    code = process.returncode
    failure = Failure(why_failed(job, code), was_stopped=code < 0 or code == Interrupted.exit_code)
    hear(Report(job, "failed", failure.why))
    return failure


def command(job: Job) -> list[str]:
    """Return the command that carries out `job`."""
    return [sys.executable, "-m", "tenfold.tethered", "run", str(job.recipe_path)]


def progress(job: Job) -> str:
    """Return in a few words how far a running job is, from the last line of its log."""
    try:
        last = (Path(job.recipe.output) / "log.jsonl").read_bytes()[-4096:].splitlines()[-1]
        event = json.loads(last)
    except (OSError, IndexError, ValueError):
        return "begins"
    match event.get("event"):
        case "update":
            return f"{event['stage']}, update {event['update']}, loss {event['loss']:.3f}"
        case "scoring":
            return f"scores {event['stage']}"
        case other:
            return f"{event.get('stage', '')} {other}".strip()


def why_failed(job: Job, code: int) -> str:
    """Return what a job's process said at last, as one short line."""
    lines = job.said_path.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES_KEPT:]
    told = [line.removeprefix("tenfold: ") for line in lines if line.startswith("tenfold: ")]
    if told:
        return told[-1]
    return f"its process was killed by signal {-code}" if code < 0 else f"it ended with exit code {code}"
