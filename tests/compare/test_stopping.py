"""A comparison that is stopped or killed: its run leaves a checkpoint or at least no process, and it goes on later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tenfold.compare import jobs
from tests.command import Desk

ROOT = str(Path(__file__).parent.parent.parent)


@contextmanager
def comparing(desk: Desk) -> Iterator[subprocess.Popen[str]]:
    """Give the command in a process of its own, killed at the end of the block if it is still there."""
    command = [sys.executable, "-m", "tenfold.cli", "compare", "recipe.yaml", "--techniques", "parameter_efficient"]
    environment = {**os.environ, "PYTHONPATH": ROOT, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [*command, "--rates", "1", "--seeds", "1"],
        cwd=desk.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until(is_so: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 60
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.05)
    return is_so()


def left_behind(folder: Path) -> list[str]:
    """Return the commands that are still at work in the comparison's `folder`."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            commands.append(path.read_text(errors="replace"))
        except OSError:
            continue  # it ended meanwhile
    return [command for command in commands if str(folder / "recipes") in command]


@pytest.mark.skipif(not Path("/proc/self/cmdline").is_file(), reason="a system without /proc")
def test_terminated_it_goes_on_from_a_checkpoint_and_killed_it_leaves_no_process(desk: Desk) -> None:
    data = {"validation_share": 0.2}
    desk.recipe(data=data, optim={"max_updates": 100_000, "epochs": 1000.0, "batch_size": 1})
    folder = Path("runs") / "compare-recipe"
    run = desk.folder / folder / "runs" / "parameter_efficient-_seed_0"
    said = desk.folder / folder / "recipes" / f"{run.name}.log"
    with comparing(desk) as process:
        assert until(lambda: (run / "log.jsonl").is_file() and '"update"' in (run / "log.jsonl").read_text())
        assert left_behind(folder), "it is at work here, so that its end is noticed below"
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in err) == (130, False), err
    assert "stopped: as asked" in err and "give the same command again" in err
    assert list((run / "checkpoints").glob("*/update-*"))
    assert not left_behind(folder)
    with comparing(desk) as process:
        assert until(lambda: "going on after update" in said.read_text()), "with the same command"
        process.kill()
    assert until(lambda: not left_behind(folder))


class TornLock:
    """A lock that is left taken the first time that `owner` takes it, by an interrupt before its `with` has it."""

    def __init__(self, owner: Thread) -> None:
        self.lock, self.owner, self.is_torn = Lock(), owner, False

    def acquire(self, blocking: bool = True) -> bool:
        is_taken = self.lock.acquire(blocking)
        if is_taken and current_thread() is self.owner and not self.is_torn:
            self.is_torn = True
            raise KeyboardInterrupt
        return is_taken

    def release(self) -> None:
        self.lock.release()

    __enter__ = acquire

    def __exit__(self, *_: object) -> None:
        self.release()


def test_an_interrupt_at_the_worst_moment_of_waiting_for_a_run_does_not_hang(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`Popen.wait` is no place to be interrupted in; the thread here stands for the main one, which signals come to."""
    left: SimpleQueue[str] = SimpleQueue()
    begun: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        process = Popen(*arguments, **options)
        assert isinstance(process._waitpid_lock, type(Lock())), "what it waits with is called otherwise by now"
        process._waitpid_lock = TornLock(main)
        begun.append(process)
        return process

    def hear(report: jobs.Report) -> None:
        if report.told != "begins":
            raise KeyboardInterrupt

    def work() -> None:
        try:
            jobs.carry_out(cast(jobs.Job, job), hear)
        except KeyboardInterrupt:
            left.put("interrupted")

    Popen: Any = subprocess.Popen
    monkeypatch.setattr(jobs.subprocess, "Popen", begin)
    monkeypatch.setattr(jobs, "command", lambda job: ["sleep", "120"])
    monkeypatch.setattr(jobs, "progress", lambda job: "sleeps")
    job = SimpleNamespace(write=lambda: None, said_path=tmp_path / "said.log")
    main = Thread(target=work, daemon=True)
    main.start()
    try:
        assert left.get(timeout=30) == "interrupted"
        assert begun[0].returncode == -signal.SIGTERM
    finally:
        begun[0].kill()
