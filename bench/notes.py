"""When each update of a training ended, and what a peer is given: the rows of a prepared job."""

from __future__ import annotations

import json
import resource
import time
from importlib.metadata import version
from pathlib import Path

from bench.pairs import peak_bytes_of

IGNORED = -100
"""The label of a token that is not in the loss."""


class Notes:
    """What a program tells of its updates, one after the other."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.cpu_ends: list[float] = []
        self.losses: list[float] = []
        self.tokens: list[int] = []
        self.peak_bytes = 0

    def note(self, loss: float, tokens: int) -> None:
        """Note that an update has ended, its loss, and the tokens seen by now."""
        self.ends.append(time.perf_counter())
        self.cpu_ends.append(time.process_time())
        self.losses.append(float(loss))
        self.tokens.append(int(tokens))
        # what a peer does after its last update, such as merging the adapter, is not part of training
        self.peak_bytes = peak_bytes_of(resource.getrusage(resource.RUSAGE_SELF))

    def write(self, result: Path, *, settings: dict[str, object], packages: tuple[str, ...]) -> None:
        """Write it all to `result`."""
        versions = {name: version(name) for name in (*packages, "torch")}
        result.write_text(json.dumps({**vars(self), "settings": settings, "versions": versions}))


def rows_of(job: dict) -> list[tuple[list[int], list[int]]]:
    """Return the token ids and labels of every row, in the order of the updates."""
    return [
        (
            row["input_ids"],
            [token if kept else IGNORED for token, kept in zip(row["input_ids"], row["supervised"], strict=True)],
        )
        for window in job["windows"]
        for row in window
    ]
