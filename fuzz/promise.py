"""What every target must keep for any input, and what breaks it."""

from __future__ import annotations

import gc
import resource
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tenfold.errors import TenfoldError

CPU_SECONDS = 1.0
"""Of this process, for one input."""

MORE_BYTES = 3 * 2**29
"""How much one input may raise the peak of resident memory."""

CORPUS = Path(__file__).parent / "corpus"
"""A folder a target: hand-made hostile inputs, and every input that once broke the promise (`found-…`)."""


@dataclass(frozen=True)
class Target:
    """A reader under test: `read` is given any bytes and may raise nothing but a `TenfoldError`."""

    name: str
    about: str
    read: Callable[[bytes], object]
    cpu_seconds: float = CPU_SECONDS
    share: float = 1.0
    """Of the executions that a fast target gets."""
    max_bytes: int = 4096
    """Of an input; readers are linear in it, so a longer one would take its time by right."""

    @property
    def seeds(self) -> list[Path]:
        """The committed inputs."""
        return sorted(path for path in (CORPUS / self.name).iterdir() if path.is_file())


@dataclass(frozen=True)
class Breach:
    """A broken promise: `key` is equal for inputs that break it at the same place."""

    key: str
    told: str


def attempt(target: Target, content: bytes) -> Breach | None:
    """Give `content` to the target; return how it broke the promise, or None."""
    started, before = time.process_time(), _peak_bytes()
    try:
        target.read(content)
    except TenfoldError as error:
        silent = [problem for problem in error.problems if not problem.found.strip()]
        if silent:
            return Breach("silent error", repr(error.problems))
    except Exception as error:
        return Breach(_place(error), "".join(traceback.format_exception(error))[-4000:])
    seconds, more = time.process_time() - started, _peak_bytes() - before
    if seconds > target.cpu_seconds and _takes_long_again(target, content):
        return Breach("slow", f"{seconds:.1f} s")
    return Breach("memory", f"{more / 2**20:.0f} MiB more") if more > MORE_BYTES else None


def _takes_long_again(target: Target, content: bytes) -> bool:
    """Whether it was the input: not a collection of garbage, nor an import."""
    gc.collect()
    started = time.process_time()
    with suppress(TenfoldError):
        target.read(content)
    return time.process_time() - started > target.cpu_seconds


def _peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _place(error: Exception) -> str:
    """Return the error's type and the innermost line of ours that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/tenfold/" in frame.filename] or list(frames)
    return f"{type(error).__name__} in {Path(ours[-1].filename).name}, {ours[-1].name}"
