"""How a test ends a run as a power cut would."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping


class KillAt:
    """A listener that kills the process when update `number` is logged."""

    def __init__(self, number: int) -> None:
        self.number = number

    def hear(self, event: Mapping[str, object]) -> None:
        if event["event"] == "update" and event["update"] == self.number:
            os.kill(os.getpid(), signal.SIGKILL)
