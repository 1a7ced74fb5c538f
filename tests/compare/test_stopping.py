"""A comparison that is stopped or killed: its run leaves a checkpoint or at least no process, and it goes on later."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

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
