"""A row of preparation, from the job to its part of the page; Tenfold stands on both sides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import preparing
from bench.ours import prepare
from bench.page import SECTIONS
from bench.pairs import Measured
from bench.preparing import PreparingRow
from bench.training import Options


def in_this_process(command: Sequence[str], *, result: Path, environment: dict[str, str]) -> Measured:
    prepare.main(Path(command[-1]), result)
    return Measured(json.loads(result.read_text()), peak_bytes=10**9)


def test_a_row_is_prepared_on_both_sides_and_gives_figures(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "JOBS", tmp_path)
    monkeypatch.setattr(preparing, "run_process", in_this_process)
    row = PreparingRow("data", "Data", rows=20, grows={"trl": (3,), "tenfold": (3, 9)}, batch_size=8, aim=3.0)
    found = row.measure(Options(pairs=2, updates=1, cores="all", model=str(model_folder)))
    assert found["tokens"] > found["supervised"]["tenfold"] == found["supervised"]["trl"] > 20
    assert list(found["growth"]["tenfold"]) == ["3", "9"]
    assert 0.1 < found["rows_per_second_ratio"]["median"] < 10
    told = SECTIONS[found["kind"]](found)
    assert "20 conversations" in told and "**is missed**" in told and "| 9 rows, Tenfold |" in told

    rows = [json.loads(line) for line in (tmp_path / "data-20" / "tenfold.jsonl").read_text().splitlines()]
    peer = [json.loads(line) for line in (tmp_path / "data-20" / "trl.jsonl").read_text().splitlines()]
    assert [row["messages"] for row in rows] == [row["prompt"] + row["completion"] for row in peer]
    assert len({row["messages"][0]["content"] for row in rows}) == 20, "no two are alike"


def test_rows_that_came_to_other_tokens_are_no_comparison() -> None:
    facts = {"clocks": [[0, 0], [1, 1], [2, 2]], "supervised": 1, "own_bytes": 1, "settings": {}, "versions": {}}
    pair = preparing.Pair(Measured({**facts, "tokens": 10}, 1), Measured({**facts, "tokens": 11}, 1))
    with pytest.raises(RuntimeError, match=r"\[10, 11\] tokens"):
        preparing.figures([pair], 1)
