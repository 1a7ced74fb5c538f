"""The figures of the long search are of the targets that there are, and say that the promise held."""

from __future__ import annotations

from fuzz.page import results, section
from fuzz.targets import TARGETS


def test_every_target_was_searched_a_million_inputs_in_all() -> None:
    found = results()
    assert {result["name"] for result in found} == set(TARGETS)
    assert sum(result["executions"] for result in found) >= 1_000_000


def test_the_promise_held_and_the_page_says_what_was_counted() -> None:
    told = section(results())
    for result in results():
        assert (result["crashes"], result["breaches"]) == (0, [])
        assert f"{result['executions']:,}" in told
