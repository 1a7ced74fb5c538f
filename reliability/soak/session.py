"""The session: rounds of episodes in this process until the time is over, a reading after each."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from reliability.soak.episodes import EPISODES, Episode
from reliability.soak.gauge import BY_RESULT, Gauge, Reading, count_objects
from reliability.soak.judge import NEVER_MORE


@dataclass(frozen=True)
class Round:
    """A reading after each episode of one round, the objects that were left at its end, and how long it took."""

    readings: Sequence[Reading]
    objects: int
    seconds: float

    def told(self) -> dict[str, float]:
        """Return a value for each name of `judge.Rounds`: the median of memory, the most of what is counted."""
        resident = sorted(reading.resident_bytes for reading in self.readings)
        counted = {name: max(getattr(reading, name) for reading in self.readings) for name in NEVER_MORE}
        return {"resident_bytes": resident[len(resident) // 2], "objects": self.objects, **counted}


def rounds(
    root: Path, gauge: Gauge, *, seconds: float, episodes: Sequence[Episode] = tuple(EPISODES.values()), least: int = 1
) -> Iterator[Round]:
    """Yield one round after another in `root` until `seconds` are over, `least` of them in any case."""
    started, number = time.monotonic(), 0
    while number < least or time.monotonic() - started < seconds:
        number += 1
        begun = time.monotonic()
        readings = [_reading_after(episode, root, gauge) for episode in episodes]
        yield Round(readings, count_objects(), time.monotonic() - begun)


def _reading_after(episode: Episode, root: Path, gauge: Gauge) -> Reading:
    folder = root / "episode"
    folder.mkdir()
    try:
        episode(folder)
    finally:
        os.chdir(root)
        shutil.rmtree(folder)
        for room in BY_RESULT:
            shutil.rmtree(gauge.cache / room, ignore_errors=True)
    return gauge.read()
