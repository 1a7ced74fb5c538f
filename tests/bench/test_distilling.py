"""A row of distillation, from the job to its part of the page; Tenfold stands on both sides, so nothing may differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from bench import distilling
from bench.ours import distil, divergence, lessons
from bench.page import SECTIONS
from bench.pairs import Measured, Pair
from bench.rows import distillation_cpu
from bench.training import Options
from tests.bench.short import use_short_rows

SCRIPTS = {"bench.ours.divergence": divergence, "bench.ours.lessons": lessons}


def in_this_process(command: Sequence[str], *, result: Path, environment: dict[str, str]) -> Measured:
    folder = Path(command[-1])
    SCRIPTS.get(command[-2], distil).main(folder, result)
    if result.stem == "trl":
        (folder / "tenfold-student").rename(folder / "trl-student")
    return Measured(json.loads(result.read_text()), peak_bytes=10**9)


@pytest.fixture
def short_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_short_rows(distilling, tmp_path, monkeypatch)
    monkeypatch.setattr(distilling, "run_process", in_this_process)


@pytest.mark.usefixtures("short_rows")
def test_a_row_distils_on_both_sides_and_gives_figures(model_folder: Path, tmp_path: Path) -> None:
    row = replace(distillation_cpu.ROW, name="distil", blocks=1, epochs=2, rows_stored=12)
    found = row.measure(Options(pairs=1, updates=1, cores="all", model=str(model_folder)))
    assert found["updates"] == 2 and found["loss"]["trl"] == found["loss"]["tenfold"]
    assert found["stored"]["positions"] > 100 and found["stored"]["bytes_each"] < 2000
    assert found["divergence"]["trl"] == found["divergence"]["tenfold"]
    assert 0 < found["divergence"]["tenfold"] < found["divergence"]["start"]
    told = SECTIONS[found["kind"]](found)
    assert "A student of 1 blocks" in told and "**is missed**" in told

    job = json.loads((tmp_path / "distil" / "job.json").read_text())
    side = Measured(json.loads((tmp_path / "distil" / "tenfold.json").read_text()), 1)
    side.facts["tokens"][-1] -= 1
    with pytest.raises(RuntimeError, match="tokens, "):
        distilling.figures(job, [Pair(side, side)])
