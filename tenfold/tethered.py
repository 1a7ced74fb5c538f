"""`python -m tenfold.tethered` is the command `tenfold` in a process that ends with the one that started it.

A run holds its folder. One that outlived the comparison that started it would keep the next attempt out.
"""

from __future__ import annotations

import os
import signal
import sys
from threading import Thread

from tenfold.cli import main


def end_with_parent() -> None:
    """Kill this process once nobody holds the other end of its standard input any more, which must be a pipe."""
    Thread(target=_wait_for_the_end, args=(sys.stdin.fileno(),), daemon=True).start()


def _wait_for_the_end(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)  # not SIGTERM: whoever goes on from its checkpoint may be here already


if __name__ == "__main__":
    end_with_parent()
    main()
