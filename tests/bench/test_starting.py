"""How soon the command line answers, and that no heavy library is loaded for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import starting
from bench.page import SECTIONS
from bench.rows import startup
from bench.training import Options


def test_the_first_answers_are_timed_and_load_nothing_heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "JOBS", tmp_path)
    monkeypatch.setattr(starting, "TIMES", 2)
    figures = startup.ROW.measure(Options(pairs=1, updates=1, cores="all", model=""))
    assert all(not heavy for heavy in figures["heavy"].values())
    assert all(seconds["median"] > 0 for seconds in figures["seconds"].values())
    assert "(`startup`)" in SECTIONS["starting"](figures)
