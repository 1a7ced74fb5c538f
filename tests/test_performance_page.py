from __future__ import annotations

import json

from bench.page import PAGE, RESULTS, page
from bench.pairs import spread


def test_the_page_says_what_the_results_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m bench --write-docs"


def test_every_result_is_on_the_page_with_its_losses_in_agreement() -> None:
    text = PAGE.read_text(encoding="utf-8")
    results = [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("*.json")]
    assert results
    assert all(f"(`{result['name']}`)" in text for result in results)
    for result in results:
        if "kind" in result:
            continue
        assert result["loss"]["agree"], "a faster wrong answer does not count"
        assert result["pairs"] >= 5


def test_a_spread_is_median_smallest_and_largest() -> None:
    assert spread([3.0, 1.0, 2.0, 10.0]) == {"median": 2.5, "min": 1.0, "max": 10.0}
