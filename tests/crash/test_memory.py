"""Memory that is really limited: wherever a run meets the limit it says so, and it goes on where there is more."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from reliability.crash.outcome import artifact_of, differences, leftovers
from reliability.crash.victim import run_in
from tests.crash.conftest import Begin


def limited(megabytes: int) -> Callable[[], None]:
    """Return what lets a process have so much more address space than it has now, and no more."""

    def limit() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + (megabytes << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    return limit


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="a system without /proc")
def test_out_of_memory_is_told_as_such_and_with_more_the_run_goes_on(begin: Begin, laid_out: Path) -> None:
    folder = begin()
    for megabytes in (2, 12):
        ended = run_in(folder, first=limited(megabytes))
        assert ended.code == 1, (megabytes, ended)
        assert "memory" in ended.said and "  do: " in ended.said and "bug" not in ended.said, ended.said
    assert run_in(folder).code == 0
    assert leftovers(folder) == []
    assert differences(artifact_of(laid_out / "straight" / "out"), artifact_of(folder / "out")) == []
