"""What one process holds at a moment: memory, file descriptors, threads, children, temporary files, cache."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path

import psutil

BY_RESULT = ("stages", "scores", "lessons", "answers", "features")
"""Rooms of the cache that hold results: one more for each that is new, by design; the soak empties them."""


@dataclass(frozen=True)
class Reading:
    """What was held when a run had just ended and its output was removed."""

    resident_bytes: int
    """As the system counts them, whatever Python has not collected yet among them."""
    descriptors: int
    threads: int
    children: int
    temporary_files: int
    cache_files: int
    """Outside of the rooms `BY_RESULT`."""


@dataclass(frozen=True)
class Gauge:
    """Reads this process, whose temporary files are in `temporary` and whose cache is at `cache`."""

    temporary: Path
    cache: Path

    def read(self) -> Reading:
        """Return what is held now."""
        process = psutil.Process()
        return Reading(
            resident_bytes=process.memory_info().rss,
            descriptors=process.num_fds(),
            threads=process.num_threads(),
            children=len(process.children(recursive=True)),
            temporary_files=sum(1 for _ in self.temporary.rglob("*")),
            cache_files=sum(1 for path in self.cache.rglob("*") if self._is_counted(path)),
        )

    def _is_counted(self, path: Path) -> bool:
        return path.is_file() and path.relative_to(self.cache).parts[0] not in BY_RESULT


def count_objects() -> int:
    """Return how many objects Python's collector keeps track of after a collection."""
    gc.collect()
    return len(gc.get_objects())
