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


def test_ways_are_compared_together_and_each_alone(
    settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"text": f"{'abc'[n % 3]} {n}", "label": "xyz"[n % 3]} for n in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"train": str(tmp_path / "rows.jsonl"), "validation_share": 0.2, "test_share": 0.2}
    tree = {**settings, "technique": "task_specific", "tuner": "full", "data": data}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree))
    grid = {"recipe": "recipe.yaml", "techniques": ["task_specific", "feature_based"], "rates": [1], "budget": "1h"}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({**grid, "seeds": 1}))
    monkeypatch.setattr(sharing, "JOBS", tmp_path / "jobs")
    monkeypatch.setattr(sharing, "ROOT", tmp_path)
    monkeypatch.setattr(sharing, "_cpu_seconds", in_this_process)
    monkeypatch.setattr(sharing, "_carry_out", lambda recipe: None)
    row = SharingRow("cost", "Cost", tmp_path / "grid.yaml", needs=tmp_path / "recipe.yaml", updates_a_run=2)
    figures = row.measure(Options(pairs=1, updates=1, cores="all", model=""))
    assert figures["same_scores"] and figures["fewer_seeds"] == []
    assert set(figures["apart_cpu_seconds"]) == {"task_specific", "feature_based"}
    assert figures["share"] == 0.5, "one second together, two apart"
    assert "(`cost`)" in SECTIONS[figures["kind"]](figures)
