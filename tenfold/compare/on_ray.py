"""A comparison's runs on a Ray cluster: as many at once as the cluster has room for.

Every machine of it reads and writes the comparison's folder under the same path, and has Tenfold installed. A run whose
worker is lost goes on from its last checkpoint on another one, since that is what `tenfold run` does by itself.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tenfold.compare.jobs import POLL_SECONDS, Hear, Job, Report, carry_out, progress
from tenfold.errors import Problem, RecipeError
from tenfold.paths import ray_address
from tenfold.recipe import Recipe

LOST_WORKERS = 10
"""How many lost workers a run may outlive: it goes on each time, and where machines are lent, many are lost."""

CONNECT_SECONDS = 10.0
"""How long a cluster that is named may take to answer at all: Ray itself goes on asking for more than four minutes."""

STOP_SECONDS = 60.0
"""How long runs are given to write a checkpoint when the comparison is stopped."""

ARRIVAL_SECONDS = 90.0
"""How long a finished run may take to show in the shared folder: NFS remembers for up to 60 s what was not there."""


class Stopped(Exception):
    """A run's process was ended from outside; it is worth another try."""


@dataclass(frozen=True)
class OnRay:
    """Carries out each job as a task of the Ray cluster `RAY_ADDRESS` names, or that runs here, or a local one."""

    cpus: int | None = None
    """For each run, with as many threads; when unset the recipe's `runtime.threads`, or 1."""
    gpus: float | None = None
    """For each run; when unset 1 if the cluster has any and the recipe may use them."""

    @property
    def terms(self) -> tuple[str, ...]:
        """That seconds mean less where runs share a machine."""
        return (
            "Runs went side by side on a Ray cluster, and those that share a machine take each other's time: "
            "updates and tokens are equal all the same, seconds are not to be relied on.",
        )

    def at_once(self, recipe: Recipe) -> int:
        """Return how many runs like `recipe` the cluster as it is now has room for, at least 1."""
        there = _connected().cluster_resources()
        return max(1, min(int(there.get(kind, 0) // each) for kind, each in self._needs(recipe).items()))

    def carry_out(self, jobs: Sequence[Job], hear: Hear) -> dict[str, str]:
        """Return for each job that failed, by name, why."""
        ray = _connected()
        failed: dict[str, str] = {}
        under_way: dict[Any, Job] = {}
        for job in jobs:
            if job.artifact is None:
                under_way[self._submitted(job)] = job
                hear(Report(job, "waiting", _room_for(self._needs(job.recipe))))
            else:
                hear(Report(job, "done"))
        try:
            while under_way:
                ended, _ = ray.wait(list(under_way), timeout=POLL_SECONDS)
                for task in ended:
                    job = under_way.pop(task)
                    why = _why_failed(job, task)
                    if why is not None:
                        failed[job.name] = why
                    hear(Report(job, "done") if why is None else Report(job, "failed", why))
                for job in under_way.values():
                    if job.said_path.exists():
                        hear(Report(job, "running", progress(job)))
        except KeyboardInterrupt:
            for task in under_way:
                ray.cancel(task)
            ray.wait(list(under_way), num_returns=len(under_way), timeout=STOP_SECONDS)
            raise
        return failed

    def _needs(self, recipe: Recipe) -> dict[str, float]:
        """Return what a run takes of a machine, by Ray's names."""
        gpus = self.gpus
        if gpus is None:
            gpus = float(recipe.runtime.device != "cpu" and _connected().cluster_resources().get("GPU", 0) > 0)
        return {"CPU": self.cpus or recipe.runtime.threads or 1, **({"GPU": gpus} if gpus else {})}

    def _submitted(self, job: Job) -> Any:
        needs = self._needs(job.recipe)
        if job.recipe.runtime.threads is None:
            runtime = job.recipe.runtime.model_copy(update={"threads": int(needs["CPU"])})
            job = replace(job, recipe=job.recipe.model_copy(update={"runtime": runtime}))
        job.write()
        job.said_path.unlink(missing_ok=True)
        task = (
            _connected()
            .remote(_carry_out)
            .options(
                name=job.name,
                num_cpus=needs["CPU"],
                num_gpus=needs.get("GPU", 0),
                max_retries=LOST_WORKERS,
                retry_exceptions=[Stopped],
            )
        )
        return task.remote(job, Path.cwd())


def on_ray(text: str) -> OnRay:
    """Return where `--on ray` or `--on ray:cpus=4,gpus=1` has the runs carried out.

    Raises:
        RecipeError: it says something else, or Ray is not installed.
    """
    place, _, wishes = text.partition(":")
    found = dict(wish.partition("=")[::2] for wish in wishes.split(",") if wish)
    try:
        asked = {name: {"cpus": int, "gpus": float}[name](value) for name, value in found.items()}
        if place != "ray" or asked.get("cpus", 1) < 1 or asked.get("gpus", 0) < 0:
            raise ValueError
    except (KeyError, ValueError):
        allowed = "ray, ray:cpus=4 or ray:cpus=4,gpus=1 (for each run)"
        raise RecipeError(Problem("--on", f"found {text!r}", allowed)) from None
    _ray()
    return OnRay(**asked)


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise RecipeError(Problem("--on", "ray is not installed", remedy="pip install 'tenfold[ray]'")) from None
    return ray


def _connected() -> Any:
    """Return ray, connected to a cluster."""
    ray = _ray()
    if not ray.is_initialized():
        try:
            if (named := ray_address()) is not None:
                socket.create_connection(named, CONNECT_SECONDS).close()
            ray.init(log_to_driver=False, logging_level="error")
        except (OSError, RuntimeError, ValueError) as error:
            remedy = "start it, correct RAY_ADDRESS, or unset it and `ray stop` to work on this machine alone"
            raise RecipeError(Problem("--on", f"no Ray cluster: {_first_line(error)}", remedy=remedy)) from None
    return ray


def _room_for(needs: dict[str, float]) -> str:
    """Return what is missing where no machine of the cluster could ever take a run, else nothing."""
    machines = [node["Resources"] for node in _connected().nodes() if node["Alive"]]
    if any(all(machine.get(kind, 0) >= each for kind, each in needs.items()) for machine in machines):
        return ""
    return f"no machine of the cluster has {' and '.join(f'{each:g} {kind}' for kind, each in needs.items())}"


def _carry_out(job: Job, folder: Path) -> str | None:
    """Run `job` from `folder`, on the worker's machine; return None, or why it failed."""
    if not (folder / job.recipe_path).is_file():
        return f"{folder / job.recipe_path} is not on {socket.gethostname()}: all machines must share that folder"
    os.chdir(folder)
    failure = carry_out(job, lambda report: None)
    if failure is not None and failure.was_stopped:
        raise Stopped(failure.why)
    return None if failure is None else failure.why


def _why_failed(job: Job, task: Any) -> str | None:
    ray = _ray()
    try:
        why: str | None = ray.get(task)
    except ray.exceptions.RayTaskError as error:
        return _first_line(error.cause)
    except ray.exceptions.RayError as error:
        return f"its worker was lost: {_first_line(error)}"
    if why is None and not _arrives(job):
        return f"it is finished where it ran, but not to be seen in {job.recipe.output}: all machines must share it"
    return why


def _arrives(job: Job) -> bool:
    until = time.monotonic() + ARRIVAL_SECONDS
    while job.artifact is None:
        if time.monotonic() > until:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
