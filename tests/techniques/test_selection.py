"""Which checkpoint is kept: the one with the best value of the task's own metric, whichever way is up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenfold.recipe import parse_recipe
from tenfold.running import run

ROWS: dict[str, list[dict[str, Any]]] = {
    "mean_absolute_error": [{"text": f"lamp number {n % 7}", "target": float(n % 7)} for n in range(60)],
    "accuracy": [{"text": f"{('lamp', 'door', 'fan')[n % 3]} {n}", "label": "abc"[n % 3]} for n in range(60)],
    "response_loss": [{"text": f"lamp {n} is set to {n * 7 % 10}"} for n in range(60)],
}


@pytest.mark.parametrize("metric", ROWS)
def test_the_best_value_is_kept(metric: str, settings: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS[metric]))
    # so high a rate that values go up and down
    optim = {**settings["optim"], "max_updates": 8, "epochs": 10, "learning_rate": 3e-2, "head_learning_rate": 0.3}
    tree = {
        **settings,
        "tuner": {"kind": "full"},
        "data": {"train": str(path), "test_share": 0.2, "validation_share": 0.2},
        "optim": optim,
        "evaluation": {"every": 1, "max_rows": 20, "retention": False},
        "gate": {"allow": ["overlap"]},
    }
    artifact = run(parse_recipe(tree))
    events = [json.loads(line) for line in (artifact.folder / "log.jsonl").read_text().splitlines()]
    judged = [event for event in events if event["event"] == "evaluation"]
    values = [event["value"] for event in judged]
    assert {event["metric"] for event in judged} == {metric} and len(set(values)) > 1
    assert judged[-1]["best"] == (max if metric == "accuracy" else min)(values)
