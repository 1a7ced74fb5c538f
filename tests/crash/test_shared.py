"""Several processes at once: one in an output folder, many at one store of stages."""

from __future__ import annotations

import signal
from pathlib import Path

from reliability.crash.outcome import artifact_of, differences, leftovers
from reliability.crash.victim import Moment, run_in, start_in
from tests.crash.conftest import Begin


def test_a_second_process_is_refused_until_the_first_is_dead(begin: Begin, laid_out: Path) -> None:
    folder = begin()
    first = start_in(folder, Moment(0.0, 100, signal.SIGSTOP), said=folder / "said-first.txt")
    try:
        first.wait_until_stopped()
        assert (folder / "out" / "checkpoints").is_dir(), "it is at work in there"
        second = run_in(folder)
    finally:
        first.kill()
    assert second.code == 2
    assert "another process is working in out\n  do: wait for it, or set `output`" in second.said
    assert first.wait().code == -signal.SIGKILL
    assert run_in(folder).code == 0
    assert differences(artifact_of(laid_out / "straight" / "out"), artifact_of(folder / "out")) == []


def test_four_runs_at_once_share_one_store(begin: Begin, laid_out: Path) -> None:
    folders = [begin() for _ in range(4)]
    cache = folders[0] / "cache"
    children = [start_in(folder, cache=cache) for folder in folders]
    ended = [child.wait() for child in children]
    assert [each.code for each in ended] == [0] * 4, [each.said for each in ended if each.code]
    straight = artifact_of(laid_out / "straight" / "out")
    for folder in folders:
        # one that came late found the stage in the store: its log has no updates
        came_late = '"stage_restored"' in (folder / "out" / "log.jsonl").read_text()
        expected = ["log.jsonl"] if came_late else []
        assert differences(straight, artifact_of(folder / "out")) == expected
    assert leftovers(folders[0]) == []
    assert len(list((cache / "stages").glob("[!.]*"))) == 1


def test_what_a_stopped_run_has_begun_is_left_alone_by_others(begin: Begin) -> None:
    cache, other = begin() / "cache", begin()
    for write in range(4, 30):
        first = start_in(cache.parent, Moment(0.0, write, signal.SIGSTOP))
        try:
            first.wait_until_stopped()
            begun = set(cache.rglob("*.partial"))
            if begun:  # stopped just before it gave a file its name
                assert run_in(other, cache=cache).code == 0
                assert begun <= set(cache.rglob("*.partial"))
                return
        finally:
            first.kill()
            first.wait()
    raise AssertionError("it was never stopped while it wrote into the cache")
