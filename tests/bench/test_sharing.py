"""What a comparison saves by sharing, on a tiny model: the same scores together and apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from bench import sharing
from bench.page import SECTIONS
from bench.sharing import SharingRow
from bench.training import Options
from tenfold.compare.campaign import Campaign
from tenfold.compare.grid import load_grid
from tenfold.compare.record import write_record
from tenfold.compare.verdict import standings_of
from tests.compare.test_campaign import carried_out


def in_this_process(command: Sequence[str], folder: Path) -> float:
    """Carry a comparison out without the cost of processes, and say that it took a second."""
    *_, grid, _, out = command
    comparison, _ = carried_out(Campaign(*load_grid(Path(grid)), Path(out)))
    write_record(comparison, standings_of(comparison), Path(out) / "comparison.json")
    return 1.0


@pytest.fixture
def row(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SharingRow:
    """Two ways, of a task that is not called `main`."""
    rows = [{"text": f"{'abc'[n % 3]} {n}", "label": "xyz"[n % 3]} for n in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"tasks": {"letters": {"train": str(tmp_path / "rows.jsonl"), "validation_share": 0.2, "test_share": 0.2}}}
    tree = {**settings, "technique": "task_specific", "tuner": "full", "data": data}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))
    grid = {"recipe": "recipe.yaml", "techniques": ["task_specific", "feature_based"], "rates": [1], "budget": "1h"}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({**grid, "seeds": 1}))
    monkeypatch.setattr(sharing, "JOBS", tmp_path / "jobs")
    monkeypatch.setattr(sharing, "ROOT", tmp_path)
    monkeypatch.setattr(sharing, "_cpu_seconds", in_this_process)
    monkeypatch.setattr(sharing, "_carry_out", lambda recipe: None)
    return SharingRow(
        "cost", "Cost", tmp_path / "grid.yaml", needs=tmp_path / "recipe.yaml", updates_a_run=2, seeds=1, rates=(1.0,)
    )


OPTIONS = Options(pairs=1, updates=1, cores="all", model="")


def noted(tmp_path: Path) -> list[str]:
    lines = [line for path in (tmp_path / "jobs").glob("*/figures.jsonl") for line in path.read_text().splitlines()]
    return [json.loads(line)["comparison"] for line in lines]


def test_what_was_measured_by_the_same_code_is_not_made_again(
    row: SharingRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = row.measure(OPTIONS)
    monkeypatch.setattr(sharing, "_cpu_seconds", lambda command, folder: pytest.fail("made again"))
    again = row.measure(OPTIONS)
    changing = ("date", "machine", "load_average")
    assert {name: again[name] for name in figures if name not in changing} == {
        name: figures[name] for name in figures if name not in changing
    }
    assert not list((tmp_path / "jobs").rglob("*.safetensors")), "nobody asks for the weights, and they may fill a disk"
    monkeypatch.setattr(sharing, "code_version", lambda: "other")
    with pytest.raises(pytest.fail.Exception, match="made again"):
        row.measure(OPTIONS)


def test_ways_are_compared_together_and_each_alone(row: SharingRow, tmp_path: Path) -> None:
    figures = row.measure(OPTIONS)
    assert figures["same_scores"] and figures["fewer_seeds"] == []
    assert set(figures["apart_cpu_seconds"]) == {"task_specific", "feature_based"}
    assert figures["share"] == 0.5, "one second together, two apart"
    assert "(`cost`)" in SECTIONS[figures["kind"]](figures)
    assert noted(tmp_path) == ["together", "task_specific", "feature_based"]


@pytest.mark.parametrize("alone", [False, True])
def test_a_way_without_a_score_ends_the_measurement_at_once(
    row: SharingRow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    def failing(command: Sequence[str], folder: Path) -> float:
        in_this_process(command, folder)
        path = folder / "out" / "comparison.json"
        record = json.loads(path.read_text())
        if not alone or folder.name == "task_specific":
            record["entries"][0] |= {"runs": [], "failures": ["out of memory"]}
        path.write_text(json.dumps(record))
        return 1.0

    monkeypatch.setattr(sharing, "_cpu_seconds", failing)
    with pytest.raises(RuntimeError, match="task_specific: out of memory"):
        row.measure(OPTIONS)
    assert noted(tmp_path) == (["together"] if alone else [])


def test_a_way_that_does_not_apply_is_told_too(row: SharingRow) -> None:
    grid = yaml.safe_load(row.grid.read_text())
    row.grid.write_text(yaml.safe_dump({**grid, "techniques": [*grid["techniques"], "cross_lingual"]}))
    with pytest.raises(RuntimeError, match="cross_lingual: does not apply, "):
        row.measure(OPTIONS)
