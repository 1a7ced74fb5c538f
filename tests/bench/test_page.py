"""docs/performance.md says what bench/results/ holds, in the words that stand in bench/ now."""

from __future__ import annotations

from bench.page import PAGE, page


def test_the_page_is_what_the_results_come_to() -> None:
    assert PAGE.read_text(encoding="utf-8") == page()
