"""Which finished runs are one way, and which cannot be compared at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tenfold.artifact import Artifact
from tenfold.compare.gather import comparison_of
from tenfold.errors import UserError
from tests.compare.artifacts import accuracy, artifact, rows_of

LORA: dict[str, Any] = {"tuner": {"kind": "lora", "rank": 4}}


def test_runs_that_differ_only_in_seed_and_output_are_one_entry_by_seed(tmp_path: Path) -> None:
    runs = [artifact(tmp_path / str(seed), seed=seed, sections=LORA) for seed in (2, 0, 1)]
    other = artifact(tmp_path / "full", sections={"tuner": "full"})
    found = comparison_of([runs[0], other, *runs[1:]])
    assert [entry.name for entry in found.entries] == ["instruction · lora", "instruction · full"]
    assert [[run.recipe.runtime.seed for run in entry.runs] for entry in found.entries] == [[0, 1, 2], [0]]
    assert found.title == "2 ways to fine-tune base"


def test_what_changes_no_weight_makes_no_other_entry(tmp_path: Path) -> None:
    first = artifact(tmp_path / "a", seed=0, sections={"runtime": {"threads": 1}})
    second = artifact(tmp_path / "b", seed=1, sections={"runtime": {"threads": 2}})
    assert len(comparison_of([first, second]).entries) == 1


def test_entries_of_one_technique_and_tuner_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    fast = artifact(tmp_path / "a", sections={"optim": {"learning_rate": 1e-2}})
    slow = artifact(tmp_path / "b", sections={"optim": {"learning_rate": 1e-3}})
    names = [entry.name for entry in comparison_of([fast, slow]).entries]
    assert names == ["instruction · lora, learning rate 0.01", "instruction · lora, learning rate 0.001"]


def refused(*artifacts: Artifact) -> str:
    with pytest.raises(UserError) as caught:
        comparison_of(artifacts)
    return str(caught.value)


def test_runs_whose_measurements_cannot_be_paired_are_refused_all_at_once(tmp_path: Path) -> None:
    first = artifact(tmp_path / "first")
    few = artifact(tmp_path / "few", items=(1, 0))
    named = artifact(tmp_path / "named", measure=accuracy([1, 0, 1, 1]).__class__("f1", "share", True, (1.0,) * 4))
    other = [{**row, "prompt": f"another {row['prompt']}"} for row in rows_of((1, 0, 1, 1))]
    rows = artifact(tmp_path / "rows", rows=other, test={"sha256": "def"})
    told = refused(first, few, named, rows)
    assert f"{tmp_path / 'few'}: scored on 2 rows, not 4, so it cannot be compared with {tmp_path / 'first'}" in told
    assert f"{tmp_path / 'named'}: scored by f1, not accuracy" in told
    assert f"{tmp_path / 'rows'}: scored on other test rows" in told
    assert "do: give all runs one file of test rows as data.test" in told


def test_the_hash_of_all_test_rows_is_enough_where_no_answers_were_kept(tmp_path: Path) -> None:
    first, second = (artifact(tmp_path / str(seed), seed=seed, rows=()) for seed in (0, 1))
    assert len(comparison_of([first, second]).entries) == 1


def test_where_the_seed_chose_rows_another_seed_chose_others(tmp_path: Path) -> None:
    first, second = (artifact(tmp_path / str(seed), seed=seed, rows=(), test={"rows": 9}) for seed in (0, 1))
    assert "scored on other test rows" in refused(first, second)
    full = artifact(tmp_path / "full", seed=0, rows=(), test={"rows": 9}, sections={"tuner": "full"})
    assert len(comparison_of([first, full]).entries) == 2


def test_the_same_run_twice_no_run_and_a_run_without_scores_are_refused(tmp_path: Path) -> None:
    first = artifact(tmp_path / "a")
    again = artifact(tmp_path / "b")
    assert f"{tmp_path / 'b'}: the same recipe and seed as {tmp_path / 'a'}" in refused(first, again)
    assert "no artifact to report on" in refused()
    (tmp_path / "b" / "scorecard.json").write_text('{"format": 1, "scores": []}', encoding="utf-8")
    unscored = Artifact.open(tmp_path / "b")
    assert "nothing was scored" in refused(unscored)
