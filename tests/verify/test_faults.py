"""Each fault that fine-tuning tools are known for, planted once: exactly the check that is there for it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reliability.planted.training import FAULTS, failed_checks
from tenfold.verify.verifying import CHECKS

Settings = dict[str, Any]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_fails_its_check_and_no_other(fault: str, settings: Settings) -> None:
    assert failed_checks(FAULTS[fault], settings) == FAULTS[fault].checks


def test_padding_that_is_seen_fails_where_prompts_are_of_one_length_and_answers_stay(
    settings: Settings, tmp_path: Path
) -> None:
    rows = [{"prompt": f"lamp {number}", "completion": "on"} for number in range(10, 50)]
    (tmp_path / "equal.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = {**settings["data"], "train": str(tmp_path / "equal.jsonl")}
    assert failed_checks(FAULTS["padding that is seen"], {**settings, "data": data}) == {"batch"}


def test_every_check_of_a_recipe_is_seen_to_fail() -> None:
    assert set().union(*(fault.checks for fault in FAULTS.values())) == {check.name for check in CHECKS}
