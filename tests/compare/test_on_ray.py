"""Runs on a Ray cluster: what comes of them is what comes of them here, whatever becomes of a worker."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tenfold.compare.campaign import Campaign
from tenfold.compare.comparison import Comparison
from tenfold.compare.grid import Grid
from tenfold.compare.jobs import HereOneByOne, Report
from tenfold.compare.on_ray import OnRay, on_ray
from tenfold.errors import RecipeError
from tenfold.recipe import parse_recipe

ray = pytest.importorskip("ray")

LONG = 600
"""Updates that take long enough to be interrupted in."""


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Room for two runs at once. Its cache is its own: a run from the store of the local ones would prove nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENFOLD_CACHE", str(tmp_path_factory.mktemp("cluster-cache")))
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.delenv("RAY_ADDRESS", raising=False)
        # not every version and system has these: a run must end with its worker without them
        patch.setenv("RAY_process_group_cleanup_enabled", "false")
        patch.setenv("RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper", "false")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
        yield
        ray.shutdown()


@pytest.fixture
def base(settings: dict[str, Any], labels_file: Path) -> dict[str, Any]:
    return {
        **settings,
        "technique": "task_specific",
        "tuner": "full",
        "data": {"train": str(labels_file), "validation_share": 0.2, "test_share": 0.2},
        "evaluation": {"max_rows": 12, "retention": False},
        "runtime": {**settings["runtime"], "threads": 1},  # two threads would add up in another order
    }


BOTH = ("parameter_efficient", "feature_based")


def campaign(base: dict[str, Any], folder: Path, *, updates: int = 6, techniques: tuple[str, ...] = BOTH) -> Campaign:
    grid = Grid(
        recipe="recipe.yaml",
        techniques=techniques,
        rates=(1.0,),
        seeds=1,
        per_run=updates,
        binds="updates",
    )
    return Campaign(grid, parse_recipe(base), folder)


class Heard:
    """Every report, in order."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    def __call__(self, report: Report) -> None:
        self.reports.append(report)

    def states(self, name: str) -> list[str]:
        return [each.state for each in self.reports if each.job.name == name]


def table(comparison: Comparison) -> list[object]:
    """Return all of a comparison that does not tell of time and place."""
    return [
        (
            entry.name,
            entry.failures,
            entry.note,
            [artifact.recipe.model_dump(exclude={"data", "output"}) for artifact in entry.runs],
            [artifact.scorecard.scores for artifact in entry.runs],
            [artifact.generations for artifact in entry.runs],
        )
        for entry in comparison.entries
    ]


def test_the_comparison_is_that_of_the_local_executor(base: dict[str, Any], tmp_path: Path) -> None:
    here = campaign(base, tmp_path / "here").carry_out(HereOneByOne(), lambda report: None)
    heard = Heard()
    there = campaign(base, tmp_path / "there").carry_out(OnRay(), heard)
    assert table(there) == table(here)
    assert [len(entry.runs) for entry in there.entries] == [1, 1]
    assert there.rules == (*here.rules, *OnRay().terms)
    for name in {each.job.name for each in heard.reports}:
        assert heard.states(name)[0] == "waiting" and heard.states(name)[-1] == "done"
    names = [each.job.name for each in heard.reports if each.state == "running"]
    assert len(set(names)) == 2 and names != sorted(names, key=names.index), "two went side by side"
    again = Heard()
    campaign(base, tmp_path / "there").carry_out(OnRay(), again)
    assert {each.state for each in again.reports} == {"done"}, "what is finished is not run again"


def updates_made(run: Path) -> list[int]:
    try:
        lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    events = [json.loads(line) for line in lines if line.endswith("}")]
    return [event["update"] for event in events if event["event"] == "update"]


def run_of(recipe: Path) -> psutil.Process:
    """Return the process that carries out the recipe."""
    return next(
        process for process in psutil.process_iter(["cmdline"]) if str(recipe) in (process.info["cmdline"] or ())
    )


def lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_worker_that_is_killed_loses_nothing(base: dict[str, Any], tmp_path: Path) -> None:
    lora = ("parameter_efficient",)
    here = campaign(base, tmp_path / "here", updates=LONG, techniques=lora).carry_out(
        HereOneByOne(), lambda report: None
    )
    work = campaign(base, tmp_path / "there", updates=LONG, techniques=lora)
    name = work.final_jobs({})[0].name
    at_its_death: list[int] = []

    def kill_its_worker() -> None:
        while len(updates_made(work.folder / "runs" / name)) < 20:
            time.sleep(0.01)
        run = run_of(work.folder / "recipes" / f"{name}.yaml")
        worker = run.parent()
        assert worker is not None and "ray::" in worker.cmdline()[0]
        worker.send_signal(signal.SIGKILL)
        while lives(run):
            time.sleep(0.01)
        at_its_death.extend(updates_made(work.folder / "runs" / name))

    killer = threading.Thread(target=kill_its_worker, daemon=True)
    killer.start()
    there = work.carry_out(OnRay(), lambda report: None)
    killer.join(timeout=1)
    assert 20 <= at_its_death[-1] < LONG, "the run died with its worker"
    assert table(there) == table(here)
    made = updates_made(work.folder / "runs" / name)
    assert made[-1] == LONG
    assert made.count(1) == 1, "it went on, it did not begin anew"


def test_a_run_that_fails_is_told_with_its_reason(base: dict[str, Any], tmp_path: Path) -> None:
    base["runtime"] = {**base["runtime"], "threads": None}
    work = campaign(base, tmp_path / "there")
    lora, features = work.final_jobs({})
    stranger = Path(lora.recipe.output) / "letter.txt"
    stranger.parent.mkdir(parents=True)
    stranger.write_text("mine")
    heard = Heard()
    entries = work.carry_out(OnRay(cpus=2), heard).entries
    assert "holds files that are not a run's: letter.txt" in entries[0].failures[0]
    assert (len(entries[0].runs), len(entries[1].runs)) == (0, 1), "the others go on"
    assert entries[1].runs[0].recipe.runtime.threads == 2, "as many threads as CPUs"
    assert heard.states(lora.name)[-1] == "failed" and heard.states(features.name)[-1] == "done"


def test_ctrl_c_stops_the_runs_with_a_checkpoint(base: dict[str, Any], tmp_path: Path) -> None:
    # a seed of its own: the cluster's store holds what was trained to the end before
    base["runtime"] = {**base["runtime"], "seed": 5, "checkpoint_every": 100_000}
    lora, features = campaign(base, tmp_path / "there", updates=LONG).final_jobs({})
    run = Path(lora.recipe.output)
    OnRay().carry_out([features], lambda report: None)

    def interrupted(report: Report) -> None:
        if len(updates_made(run)) >= 20:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        OnRay().carry_out([features, lora], interrupted)
    made = updates_made(run)
    assert 20 <= made[-1] < LONG
    with pytest.raises(StopIteration):
        run_of(lora.recipe_path)
    heard = Heard()
    assert OnRay().carry_out([features, lora], heard) == {}
    assert heard.states(features.name) == ["done"], "what is finished stays"
    assert updates_made(run) == list(range(1, LONG + 1)), "it went on at the very next update"


def test_what_a_run_takes_of_a_machine(base: dict[str, Any], tmp_path: Path) -> None:
    recipe = parse_recipe(base)
    assert OnRay().at_once(recipe) == 2
    assert OnRay(cpus=2).at_once(recipe) == 1
    assert OnRay().at_once(parse_recipe({**base, "runtime": {**base["runtime"], "threads": 2}})) == 1
    anywhere = parse_recipe({**base, "runtime": {**base["runtime"], "device": "auto"}})
    assert OnRay().at_once(anywhere) == 2, "no card is asked for where there is none"


def test_a_wish_that_no_machine_can_fulfil_is_told(base: dict[str, Any], tmp_path: Path) -> None:
    def impatient(report: Report) -> None:
        assert report.state == "waiting"
        if report.told:
            told.append(report.told)
            raise KeyboardInterrupt

    told: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        campaign(base, tmp_path / "there").carry_out(OnRay(cpus=64), impatient)
    assert told == ["no machine of the cluster has 64 CPU"]


def test_on_says_where_and_how_much() -> None:
    assert on_ray("ray") == OnRay()
    assert on_ray("ray:cpus=4,gpus=0.5") == OnRay(cpus=4, gpus=0.5)


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "127.0.0.1:x"])
def test_a_cluster_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setenv("RAY_ADDRESS", address.format(port=unheard.getsockname()[1]))
        with pytest.raises(RecipeError, match="no Ray cluster: "):
            OnRay().carry_out([], lambda report: None)
