"""A process that is killed: forked from one that has imported everything, at work as the command line is.

The child is given the command `tenfold run` in a process group and a session of its own: signal handlers, locks and
all that is written are those of a real command. It starts 3 seconds sooner, and nothing else is different.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tenfold.cli import main

WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree", "shutil.copyfile"}
"""Audit events of Python before a change to a file system; `open` is one where it is opened for writing."""


@dataclass(frozen=True)
class Moment:
    """When a process is struck: `seconds` after its start or, if `write` is given, after that change to its files."""

    seconds: float
    write: int | None = None
    signal: signal.Signals = signal.SIGKILL


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code or minus the signal, and what it had said."""

    code: int
    said: str


@dataclass(frozen=True)
class Child:
    """A process at work in `folder`."""

    process: int
    said: Path

    def wait(self) -> Ended:
        """Wait for its end."""
        _, status = os.waitpid(self.process, 0)
        return Ended(os.waitstatus_to_exitcode(status), self._said())

    def wait_until_stopped(self) -> None:
        """Wait until it has stopped at its moment, whose signal is SIGSTOP."""
        _, status = os.waitpid(self.process, os.WUNTRACED)
        assert os.WIFSTOPPED(status), self._said()

    def kill(self) -> None:
        """Let it die at once."""
        os.kill(self.process, signal.SIGKILL)

    def _said(self) -> str:
        return self.said.read_text(encoding="utf-8", errors="replace") if self.said.is_file() else ""


def run_in(folder: Path, moment: Moment | None = None, **options: Any) -> Ended:
    """Do as `start_in` and wait for the end; a `moment` by the clock is kept from here."""
    child = start_in(folder, moment, **options)
    if moment is not None and moment.write is None:
        _strike_after(child.process, moment)
    return child.wait()


def start_in(
    folder: Path,
    moment: Moment | None = None,
    *,
    cache: Path | None = None,
    said: Path | None = None,
    counted: Path | None = None,
    first: Callable[[], object] = lambda: None,
) -> Child:
    """Give `tenfold run recipe.yaml` in `folder`, with a cache there or at `cache`, after the child has called `first`.

    What it says goes into the file `said`, by default one in `folder`.
    `counted` is a file for how many changes to files there were, and which modules it had imported.
    """
    said = said or folder / "said.txt"
    process = os.fork()
    if process == 0:
        _be_the_command(folder, moment, cache or folder / "cache", said, counted, first)
    return Child(process, said)


def import_all(names: Iterable[str]) -> None:
    """Import the modules `names` where they can be: what a child finds imported it need not import again."""
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)


def _strike_after(process: int, moment: Moment) -> None:
    deadline = time.monotonic() + moment.seconds
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return  # it was faster
        time.sleep(min(0.002, max(0.0, deadline - time.monotonic())))
    with suppress(ProcessLookupError):
        os.kill(process, moment.signal)


def _be_the_command(
    folder: Path, moment: Moment | None, cache: Path, said: Path, counted: Path | None, first: Callable[[], object]
) -> None:
    code = 70
    try:
        tqdm.set_lock(threading.RLock())  # the lock it is forked with is one for all: who dies with it stops the others
        os.setsid()
        os.chdir(folder)
        os.environ["TENFOLD_CACHE"] = str(cache)
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        sys.argv = ["tenfold", "run", "recipe.yaml"]
        first()
        watch = _Watch(folder, moment)
        sys.addaudithook(watch.hear)
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        watch.is_on = False
        if counted is not None:
            counted.write_text("\n".join([str(watch.count), *sorted(sys.modules)]), encoding="utf-8")
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


class _Watch:
    """Counts the changes to files below `folder`; at its number of `moment` the process is struck, `seconds` later."""

    def __init__(self, folder: Path, moment: Moment | None) -> None:
        self.folder = f"{folder}/"
        self.moment = moment
        self.count = 0
        self.is_on = True

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take note of an audit event."""
        if not self.is_on or not (event in WRITES or (event == "open" and _writes(arguments))):
            return
        if isinstance(arguments[0], int):
            return  # a descriptor, whose file was heard of before
        path = os.fsdecode(arguments[0])
        if path.startswith("/") and not path.startswith(self.folder):
            return
        self.count += 1
        if self.moment is None or self.count != self.moment.write:
            return
        strike = partial(os.kill, os.getpid(), self.moment.signal)
        if self.moment.seconds:
            threading.Timer(self.moment.seconds, strike).start()
        else:
            strike()


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    return bool(set(mode or "") & set("wax+")) or bool(int(flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
