"""What the command line says of an error: a message that fits the terminal, and a file with what led to it."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from tenfold.errors import Interrupted, OutOfMemory, Problem, RankLost, TenfoldError, UserError
from tenfold.files import write_atomic
from tenfold.paths import cache_folder, launch, shows_tracebacks
from tenfold.plain import on_screen

STOPPED = Problem(
    "stopped",
    "at once, as asked; what was finished before is kept",
    remedy="give the same command again; `run` and `compare` go on from what is finished",
)
"""What to say of Ctrl-C where nobody else does: while files are read and models are opened."""


NO_MEMORY = Problem(
    "memory",
    "the system has no more to give; what was finished before is kept",
    remedy="end other programs, or take a smaller model.name, data.max_length or runtime.micro_batch_tokens;"
    " `tenfold check RECIPE` estimates what a run needs",
)
"""What to say where memory runs out in a place that does not tell it by itself, such as the loading of a library."""


def says_no_memory(error: Exception) -> bool:
    """Whether `error`, from whatever library, says that memory could not be had."""
    signs = ("cannot allocate memory", "can't allocate memory", "failed to map segment from shared object")
    return isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in signs)


@contextmanager
def told_errors(version: str) -> Iterator[None]:
    """End the process with one short message and the error's exit code where the block fails or is stopped."""
    try:
        yield
    except TenfoldError as error:
        if is_told_elsewhere(error):
            sys.exit(error.exit_code)
        heading = f"{len(error.problems)} problems\n" if len(error.problems) > 1 else ""
        print(wrapped(f"tenfold: {heading}{error}"), file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as ended:
        if ended.code == Interrupted.exit_code:  # what typer makes of Ctrl-C, wherever it comes; it prints nothing
            print(wrapped(f"tenfold: {STOPPED}"), file=sys.stderr)
        raise
    except Exception as error:
        if shows_tracebacks():
            raise
        if says_no_memory(error):
            print(wrapped(f"tenfold: {NO_MEMORY}"), file=sys.stderr)
            sys.exit(OutOfMemory.exit_code)
        print(wrapped(str(unforeseen(error, version))), file=sys.stderr)
        sys.exit(1)


def require_alone(command: str) -> None:
    """Check that this process was not started as one of several, unless `command` is the one that they share.

    Raises:
        UserError: it is another command.
    """
    count = launch().count
    if count > 1 and command != "run":
        found = f"`tenfold {command}` in {count} processes at once"
        raise UserError(Problem("torchrun", found, "`tenfold run`", "give the command without torchrun"))


def is_told_elsewhere(error: TenfoldError) -> bool:
    """Whether another of the processes that `torchrun` started says it: what all meet is said once on each machine."""
    return launch().local_rank > 0 and isinstance(error, (UserError, Interrupted, RankLost))


def unforeseen(error: Exception, version: str) -> Problem:
    """Return what to say of an error that nobody provided for; its traceback goes into a file."""
    remedy = "set TENFOLD_DEBUG=1 to see where it happened, and please report it"
    try:
        report = cache_folder("crashes") / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
        write_atomic(report, "".join([f"tenfold {version}: {sys.argv}\n", *traceback.format_exception(error)]))
        remedy = f"please report it with the file {report}"
    except (OSError, TenfoldError):
        pass  # the error itself matters more than where it is kept
    reason = (str(error).strip().splitlines() or ["no message"])[0][:300]
    return Problem("tenfold", f"this is a bug in Tenfold: {type(error).__name__}: {reason}", remedy=remedy)


def wrapped(text: str) -> str:
    """Return `text` in lines that fit the terminal, without control characters; as long as it is for a file."""
    text = on_screen(text)
    if not sys.stderr.isatty():
        return text
    width = shutil.get_terminal_size().columns
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    )
