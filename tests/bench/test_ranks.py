"""The row of memory over ranks, from its processes to its part of the page, on a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import ranks
from bench.page import SECTIONS
from bench.ranks import RanksRow
from bench.training import Options


def test_each_number_of_processes_is_measured_and_trains_alike(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "JOBS", tmp_path)
    row = RanksRow("ranks", "Memory", {"kind": "full"}, counts=(1, 2), precision="fp32", aim=0.6)
    found = row.measure(Options(pairs=1, updates=1, cores="all", model=str(model_folder)))
    assert [run["count"] for run in found["runs"]] == [1, 2]
    assert found["loss_difference"]["2"] < 1e-5
    for run in found["runs"]:
        assert 0.1 < run["libraries_gb"]["own"] < run["libraries_gb"]["resident"]
        assert run["libraries_gb"]["own"] <= max(peak["own"] for peak in run["peaks_gb"].values())
    found["share"]["resident"]["2"] = 0.61
    assert "takes **0.61** of" in SECTIONS[found["kind"]](found)
    assert "0.6 or less is **missed**" in SECTIONS[found["kind"]](found)
    found["share"]["resident"]["2"] = 0.6
    assert "0.6 or less is met" in SECTIONS[found["kind"]](found)


def test_shares_are_of_what_one_process_takes_beyond_the_libraries_too() -> None:
    run = {
        "libraries_gb": {"own": 0.4, "resident": 0.6},
        "peaks_gb": {
            phase: {"own": own, "resident": own + 0.2} for phase, own in zip(ranks.PHASES, (1.0, 3.0, 2.0), strict=True)
        },
    }
    assert [ranks._peak(run, of) for of in ("own", "resident", "beyond_libraries")] == [3.0, 3.2, 2.6]
