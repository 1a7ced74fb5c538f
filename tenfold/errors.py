"""Which mistakes and failures can end a command, and how each is told.

    TenfoldError
    ├── UserError            something the user can mend; exit code 2
    │   ├── RecipeError      unknown key, value out of range, options that do not fit together
    │   ├── DataError        a file or a row that cannot be read as training data
    │   ├── ModelError       a model that cannot be found, opened or tuned as asked
    │   ├── SignalError      the training-signal gate refuses the run
    │   └── ArtifactError    an output folder or adapter that belongs to something else, or is damaged
    └── RunFailure           the run itself could not go on; exit code 1
        ├── NonFiniteLoss    loss or gradient is NaN or infinite
        ├── OutOfMemory      not even the smallest micro-batch fits
        ├── DiskFull         a file could not be written
        ├── RankLost         another process of the same training ended, or does not answer
        └── Interrupted      the user or the system asked to stop; a checkpoint was written

An error holds one `Problem` or several, so that all problems of a layer are told at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: `where` it is, what was `found`, what is `allowed`, what to do (`remedy`)."""

    where: str
    found: str
    allowed: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        """Two to four short lines, ready for a terminal."""
        lines = [f"{self.where}: {self.found}" if self.where else self.found]
        if self.allowed:
            lines.append(f"  allowed: {self.allowed}")
        if self.remedy:
            lines.append(f"  do: {self.remedy}")
        return "\n".join(lines)


class TenfoldError(Exception):
    """Base of every error this package raises on purpose; `exit_code` is what the command returns."""

    exit_code = 1

    def __init__(self, *problems: Problem) -> None:
        assert problems, "an error names at least one problem"
        self.problems: Sequence[Problem] = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class UserError(TenfoldError):
    """Something the user can mend."""

    exit_code = 2


class RecipeError(UserError):
    """The recipe has an unknown key, a value out of range, or options that do not fit together."""


class DataError(UserError):
    """A file or a row cannot be read as training data."""


class ModelError(UserError):
    """A model cannot be found, opened or tuned as asked."""


class SignalError(UserError):
    """The training-signal gate refuses the run: it would teach something other than what was meant."""


class ArtifactError(UserError):
    """An output folder or adapter belongs to another recipe or base model, or is damaged."""


class RunFailure(TenfoldError):
    """The run could not go on; what was saved before is kept."""


class NonFiniteLoss(RunFailure):
    """The loss or a gradient is NaN or infinite."""


class OutOfMemory(RunFailure):
    """Not even the smallest micro-batch fits in memory."""


class DiskFull(RunFailure):
    """A file could not be written."""


class RankLost(RunFailure):
    """Another process of the same training ended, or does not answer: that one says why."""


class Interrupted(RunFailure):
    """The user (Ctrl-C) or the system (SIGTERM) asked to stop; a checkpoint was written."""

    exit_code = 130


def shown(value: object, *, limit: int = 200) -> str:
    """Return `value` as Python writes it, short enough for a message."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the known word closest to `word`, or an empty string if none is close."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean {matches[0]!r}?" if matches else ""


@contextmanager
def collecting(problems: list[Problem]) -> Iterator[None]:
    """Add the problems of a user's error to `problems` instead of stopping at the first."""
    try:
        yield
    except UserError as error:
        problems.extend(error.problems)
