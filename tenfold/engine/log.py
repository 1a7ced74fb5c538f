"""What a run says while it goes: one JSON line an event in `log.jsonl`, passed on to any listener."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Protocol

from tenfold.files import open_to_append, write_atomic, writing

Value = str | int | float | bool | None | list[str] | list[int]


class Listener(Protocol):
    """Someone who follows a run: the progress bar, a tracker."""

    def hear(self, event: Mapping[str, Value]) -> None:
        """Take note of one event; its `event` key says of which kind."""
        ...


class Log:
    """Appends events to a file (none: nothing is kept) and tells the listeners.

    Resuming drops the lines that will be made again.
    """

    def __init__(self, path: Path | None, listeners: tuple[Listener, ...] = ()) -> None:
        self.path = path
        self.listeners = listeners

    def write(self, event: str, **values: Value) -> None:
        """Append one line and pass it on."""
        line = {"event": event, **values}
        if self.path is not None:
            with writing(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with open_to_append(self.path) as file:
                    # a line that a full disk has cut would swallow this one
                    file.write(b"" if _ends_a_line(file) else b"\n")
                    file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        for listener in self.listeners:
            listener.hear(line)

    def rewind(self, stage: str, update: int) -> None:
        """Drop the stage's lines after `update`: the run goes on from there and will write them again."""
        if self.path is None or not self.path.is_file():
            return
        kept = [
            line for line in self.events() if line.get("stage") != stage or int(str(line.get("update", 0))) <= update
        ]
        write_atomic(self.path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))

    def events(self) -> list[dict[str, Value]]:
        """Return all events written so far; a last line cut short by a crash is left out."""
        if self.path is None or not self.path.is_file():
            return []
        events = []
        # not splitlines(), which takes more than a line feed for the end of a line
        for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                events.append(event)
        return events


def _ends_a_line(file: BinaryIO) -> bool:
    """Whether the file is empty or its last byte is a line feed."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return True
    file.seek(size - 1)
    return file.read(1) == b"\n"
