"""Rows that the tests' tiny tokenizer, which has a token for each byte, does not make too long."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from bench import training


def use_short_rows(module: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the rows that `module` of the benchmark measures with be the short ones, and its jobs lie in `folder`."""
    rows = training.write_rows(folder / "all.jsonl").read_text().splitlines()
    short = "".join(f"{line}\n" for line in rows if len(line) < 350)
    monkeypatch.setattr(module, "write_rows", lambda path: (path.write_text(short), path)[1])
    monkeypatch.setattr(module, "JOBS", folder)
