"""A clock that is set back, again and again, while a run is stopped and goes on: durations and the log stay right."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

from reliability.crash.outcome import artifact_of, differences, leftovers
from reliability.crash.victim import Moment, run_in
from tests.crash.conftest import Begin


def set_clock_back() -> None:
    """Let every look at the clock find it an hour, or ten years, before the last one."""
    jumps = itertools.cycle([3600.0, 10 * 365 * 86400.0])
    now = [time.time() + 20 * 365 * 86400.0]

    def earlier() -> float:
        now[0] = now[0] - next(jumps) if now[0] > 1e9 else now[0] + 20 * 365 * 86400.0
        return now[0]

    time.time = earlier
    time.time_ns = lambda: int(earlier() * 1e9)


def test_a_clock_that_is_set_back_changes_nothing(begin: Begin, laid_out: Path) -> None:
    folder = begin()
    assert run_in(folder, Moment(0.0, 100), first=set_clock_back).code == -9
    ended = run_in(folder, first=set_clock_back)
    assert ended.code == 0, ended.said
    assert leftovers(folder) == []
    assert differences(artifact_of(laid_out / "straight" / "out"), artifact_of(folder / "out")) == []
    events = [json.loads(line) for line in (folder / "out" / "log.jsonl").read_text().splitlines()]
    seconds = [event["seconds"] for event in events if event["event"] == "update"]
    assert seconds == sorted(seconds) and seconds[0] > 0 and seconds[-1] < 600
    cost = json.loads((folder / "out" / "cost.json").read_text())
    assert 0 < cost["train_seconds"] < 600 and 0 < cost["evaluation_seconds"] < 600
