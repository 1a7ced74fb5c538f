from __future__ import annotations

import json

from reliability.page import PAGE, RESULTS, page


def test_the_page_says_what_the_results_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m reliability page"


def test_every_kill_that_was_tried_was_survived() -> None:
    result = json.loads((RESULTS / "crash.json").read_text(encoding="utf-8"))
    rows = list(result["workloads"].values())
    assert len({row["technique"] for row in rows}) == 10
    assert sum(row["kills"] for row in rows) >= 200
    assert all(row["kills"] == row["survived"] and not row["faults"] for row in rows)
