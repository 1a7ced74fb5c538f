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
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.cli import main

WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree", "shutil.copyfile"}
"""Audit events of Python before a change to a file system; `open` is one where it is opened for writing."""


@dataclass(frozen=True)
class Moment:
    """When a process dies: `seconds` after its start or, if `write` is not None, after that change to its files."""

    seconds: float
    write: int | None = None


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit code or minus the signal, after how long, and what it had said."""

    code: int
    seconds: float
    said: str


def run_in(folder: Path, moment: Moment | None = None, *, count_writes: Path | None = None) -> Ended:
    """Give `tenfold run recipe.yaml` in `folder` with a cache of its own there, killed at `moment` if one is given.

    `count_writes` is a file for how many changes to files there were, and which modules it had imported.
    """
    said = folder / "said.txt"
    started = time.monotonic()
    process = os.fork()
    if process == 0:
        _be_the_command(folder, said, moment, count_writes)
    if moment is not None and moment.write is None:
        _kill_after(process, moment.seconds)
    _, status = os.waitpid(process, 0)
    text = said.read_text(encoding="utf-8", errors="replace") if said.is_file() else ""
    return Ended(os.waitstatus_to_exitcode(status), time.monotonic() - started, text)


def import_all(names: Iterable[str]) -> None:
    """Import the modules `names` where they can be: what a child finds imported it need not import again."""
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)


def _kill_after(process: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return  # it was faster
        time.sleep(min(0.002, max(0.0, deadline - time.monotonic())))
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def _be_the_command(folder: Path, said: Path, moment: Moment | None, count_writes: Path | None) -> None:
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        os.environ["TENFOLD_CACHE"] = str(folder / "cache")
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        sys.argv = ["tenfold", "run", "recipe.yaml"]
        watch = _Watch(folder, moment)
        sys.addaudithook(watch.hear)
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        watch.is_on = False
        if count_writes is not None:
            count_writes.write_text("\n".join([str(watch.count), *sorted(sys.modules)]), encoding="utf-8")
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


class _Watch:
    """Counts the changes to files below `folder`; at its number of `moment` the process dies, `seconds` later."""

    def __init__(self, folder: Path, moment: Moment | None) -> None:
        self.folder = f"{folder}/"
        self.at = moment.write if moment is not None else None
        self.seconds = moment.seconds if moment is not None else 0.0
        self.count = 0
        self.is_on = True

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on or not (event in WRITES or (event == "open" and _writes(arguments))):
            return
        if isinstance(arguments[0], int) or (
            (path := os.fsdecode(arguments[0])).startswith("/") and not path.startswith(self.folder)
        ):
            return  # a descriptor, or a file elsewhere; what is relative is in the folder or in one that is removed
        self.count += 1
        if self.count == self.at:
            if self.seconds:
                threading.Timer(self.seconds, os.kill, (os.getpid(), signal.SIGKILL)).start()
            else:
                os.kill(os.getpid(), signal.SIGKILL)


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments
    return bool(set(mode or "") & set("wax+")) or bool(int(flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
