"""Where a comparison's runs are carried out, as the command is asked for it; a run ends with who started it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.command import Desk


@pytest.mark.parametrize("wrong", ["slurm", "ray:cpus=0", "ray:cpus=x", "ray:memory=4", "ray:gpus=-1", "ray:cpus"])
def test_a_place_that_is_none_is_refused(desk: Desk, wrong: str) -> None:
    done = desk.tenfold("compare", desk.recipe(), "--on", wrong)
    assert done.code == 2
    assert f"--on: found {wrong!r}" in done.err and "ray:cpus=4,gpus=1" in done.err


def test_without_ray_the_command_to_install_it_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = desk.tenfold("compare", desk.recipe(), "--on", "ray")
    assert done.code == 2
    assert "ray is not installed" in done.err and "pip install 'tenfold[ray]'" in done.err
    assert not (desk.folder / "runs").exists(), "nothing was begun"


WAITING = (
    "import sys, time; from tenfold.tethered import end_with_parent; end_with_parent(); print(1, flush=True); {wait}"
)


def test_a_tethered_process_ends_with_who_started_it() -> None:
    command = [sys.executable, "-c", WAITING.format(wait="time.sleep(60)")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"1\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.stdin.close()
        assert process.wait(10) == -signal.SIGKILL


def test_a_tethered_process_that_is_done_ends_as_any_other() -> None:
    command = [sys.executable, "-c", WAITING.format(wait="sys.exit(3)")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.wait(30) == 3
