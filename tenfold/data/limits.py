"""A bound on what a text of somebody else's, such as a chat template, may take while it is carried out."""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from functools import cache
from types import FrameType, TracebackType

from tenfold.errors import DataError, Problem

CPU_SECONDS = 1.0
"""Of the process; a template takes about a ten-thousandth of it."""

MORE_BYTES = 2**30
"""Above what the process has mapped already."""


class TooMuch(Exception):
    """The block took more than it may."""


class Bounded:
    """A block that may take `CPU_SECONDS` and `MORE_BYTES`; what it does is `where` in the error else.

    Seconds are bounded in the main thread (Python hands signals to no other), memory on Linux. It takes some 10
    microseconds, so every row can have one.

    Raises:
        DataError: the block took more.
    """

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        self._soft, self._hard = resource.getrlimit(resource.RLIMIT_AS)
        if sys.platform == "linux":
            most = _mapped_bytes() + MORE_BYTES
            soft = most if self._soft == resource.RLIM_INFINITY else min(self._soft, most)
            resource.setrlimit(resource.RLIMIT_AS, (soft, self._hard))
        self._is_timed = threading.current_thread() is threading.main_thread()
        if self._is_timed:
            if signal.getsignal(signal.SIGVTALRM) is not _ring:  # it stays: to change it takes as long as all the rest
                signal.signal(signal.SIGVTALRM, _ring)
            # again and again: Jinja takes any error at compile time for an expression that is not constant
            signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS, CPU_SECONDS)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_timed:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if sys.platform == "linux":
            resource.setrlimit(resource.RLIMIT_AS, (self._soft, self._hard))
        if isinstance(error, TooMuch | MemoryError):
            found = (
                f"takes {error}" if isinstance(error, TooMuch) else f"takes more than {MORE_BYTES >> 30} GiB of memory"
            )
            raise DataError(Problem(self._where, f"{found} for one row", remedy="use another template")) from None


def _ring(number: int, frame: FrameType | None) -> None:
    if frame is not None and frame.f_code is Bounded.__exit__.__code__:
        return  # the block has ended, and nobody would catch it
    raise TooMuch(f"more than {CPU_SECONDS:g} s of computing")


def _mapped_bytes() -> int:
    return int(os.pread(_status(os.getpid()), 64, 0).split()[0]) * resource.getpagesize()


@cache
def _status(process: int) -> int:
    """Return the process's own status, opened once: to open it takes longer than to fill a template."""
    return os.open(f"/proc/{process}/statm", os.O_RDONLY | os.O_CLOEXEC)
