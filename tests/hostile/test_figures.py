"""The figures of the long search are of the targets that there are, and say that the promise held."""

from __future__ import annotations

import json
from pathlib import Path

from fuzz.page import section
from fuzz.targets import TARGETS

RESULTS = [
    json.loads(path.read_text(encoding="utf-8"))
    for path in sorted((Path(__file__).parents[2] / "fuzz" / "results").glob("*.json"))
]


def test_every_target_was_searched_a_million_inputs_in_all() -> None:
    assert {result["name"] for result in RESULTS} == set(TARGETS)
    assert sum(result["executions"] for result in RESULTS) >= 1_000_000


def test_the_promise_held_and_each_section_says_what_was_counted() -> None:
    for result in RESULTS:
        assert (result["crashes"], result["breaches"]) == (0, [])
        assert f"**{result['executions']:,}** inputs" in section(result)
