"""The log: one JSON line an event, readable after any crash, without the lines that will be made again."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tenfold.engine.log import Log, Value
from tenfold.errors import DiskFull


class Ear:
    def __init__(self) -> None:
        self.heard: list[Mapping[str, Value]] = []

    def hear(self, event: Mapping[str, Value]) -> None:
        self.heard.append(event)


def test_events_are_written_and_heard_in_order(tmp_path: Path) -> None:
    ear = Ear()
    log = Log(tmp_path / "new" / "log.jsonl", (ear,))
    log.write("stage", stage="main", updates=2)
    log.write("note", text="a line\nand\u2028another, ünïcödé")
    expected = [
        {"event": "stage", "stage": "main", "updates": 2},
        {"event": "note", "text": "a line\nand\u2028another, ünïcödé"},
    ]
    assert ear.heard == log.events() == expected
    assert [json.loads(line) for line in (tmp_path / "new" / "log.jsonl").read_text().split("\n") if line] == expected


def test_without_a_file_it_only_tells() -> None:
    ear = Ear()
    log = Log(None, (ear,))
    log.write("note", text="a")
    log.rewind("main", 0)
    assert (len(ear.heard), log.events()) == (1, [])


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.write("update", stage="main", update=1)
    with log.path.open("ab") as file:  # type: ignore[union-attr]
        file.write(b'{"event": "update", "stage": "m\xc3')
    assert [event["update"] for event in log.events()] == [1]


def test_rewinding_drops_only_what_will_come_again(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    for update in (1, 2, 3):
        log.write("update", stage="first", update=update)
    log.write("scored", stage="before", seconds=1.0)
    for update in (1, 2, 3):
        log.write("update", stage="second", update=update)
        log.write("evaluation", stage="second", update=update, value=0.5)
    log.rewind("second", 2)
    kept = [(event["stage"], event.get("update")) for event in log.events()]
    assert kept == [
        *(("first", update) for update in (1, 2, 3)),
        ("before", None),
        *[("second", 1)] * 2,
        *[("second", 2)] * 2,
    ]


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    log = Log(tmp_path / "log.jsonl")
    log.write("note", text="kept")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        with pytest.raises(DiskFull, match=r"log\.jsonl: no space left"):
            log.write("note", text="lost")
    assert [event["text"] for event in log.events()] == ["kept"]


def test_the_line_after_one_that_was_cut_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "one"}\n{"event": "tw', encoding="utf-8")
    log = Log(path)
    log.write("three")
    assert [event["event"] for event in log.events()] == ["one", "three"]
