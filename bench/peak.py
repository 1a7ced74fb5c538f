"""How much memory was a process's own: files that are mapped, which the system drops when it needs room, left out."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

EVERY_SECONDS = 0.02
_STATUS = Path("/proc/self/status")


class OwnMemory:
    """Watches this process's anonymous memory while it is open; it sees nothing (0) where there is no /proc."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self.peak_resident_bytes = 0
        """With what is mapped, such as the libraries' code."""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> OwnMemory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, own_bytes())
            self.peak_resident_bytes = max(self.peak_resident_bytes, resident_bytes())
            if self._done.wait(EVERY_SECONDS):
                return


def own_bytes() -> int:
    """Return what this process holds now that no file backs."""
    return _field("RssAnon")


def resident_bytes() -> int:
    """Return all that this process has in memory now, what is mapped included."""
    return _field("VmRSS")


def _field(name: str) -> int:
    if not _STATUS.is_file():
        return 0
    fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(fields[name].split()[0]) * 1024
