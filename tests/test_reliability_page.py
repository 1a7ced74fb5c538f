from __future__ import annotations

import json

from reliability.page import PAGE, RESULTS, page
from reliability.planted import rows, training
from reliability.soak.episodes import EPISODES
from reliability.soak.judge import faults


def test_the_page_says_what_the_results_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m reliability page"


def test_every_kill_that_was_tried_was_survived() -> None:
    result = json.loads((RESULTS / "crash.json").read_text(encoding="utf-8"))
    workloads = list(result["workloads"].values())
    assert len({row["technique"] for row in workloads}) == 10
    assert sum(row["kills"] for row in workloads) >= 200
    assert all(row["kills"] == row["survived"] and not row["faults"] for row in workloads)


def test_every_planted_fault_was_caught_and_nothing_was_told_without_one() -> None:
    result = json.loads((RESULTS / "planted.json").read_text(encoding="utf-8"))
    assert [each["fault"] for each in result["training"]] == list(training.FAULTS)
    assert [each["fault"] for each in result["rows"]] == list(rows.FAULTS)
    assert [each["fault"] for each in (*result["training"], *result["rows"]) if not each["caught"]] == []
    assert (result["without"]["checks_failed"], result["without"]["findings"]) == ([], {})


def test_a_long_session_was_flat() -> None:
    result = json.loads((RESULTS / "soak.json").read_text(encoding="utf-8"))
    assert result["minutes"] >= 60
    assert set(result["episodes"]) == set(EPISODES)
    assert faults(result["each_round"], runs_a_round=len(result["episodes"])) == []
