"""How Ctrl-C and SIGTERM end a run: after the current update while it trains, else at once, as nothing can be lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType

from tenfold.engine.log import Value
from tenfold.errors import Interrupted, Problem
from tenfold.terminal.console import Console


class StopSignals:
    """A listener that knows whether the run is training, and whether someone has asked it to stop."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.is_asked = False
        self._is_training = False

    def hear(self, event: Mapping[str, Value]) -> None:
        """Take note of where a training begins and where it is over."""
        if event["event"] in ("stage", "scoring"):
            self._is_training = event["event"] == "stage"

    def ask(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first one waits for the update under way, a second Ctrl-C does not."""
        if not self._is_training or (self.is_asked and number == signal.SIGINT):
            raise KeyboardInterrupt
        if not self.is_asked:
            self.console.print("stopping after this update, with a checkpoint (Ctrl-C again stops at once)")
        self.is_asked = True


@contextmanager
def stop_signals(console: Console) -> Iterator[StopSignals]:
    """Yield who hears Ctrl-C and SIGTERM inside the block.

    Raises:
        Interrupted: the block was stopped at once.
    """
    stop = StopSignals(console)
    before = {number: signal.signal(number, stop.ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    except KeyboardInterrupt:
        raise Interrupted(
            Problem(
                "stopped",
                "at once, as asked; every finished stage, score and checkpoint is kept",
                remedy="run the same command again to go on from there",
            )
        ) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM stop the block as Ctrl-C does, with a `KeyboardInterrupt`."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
