"""What was kept: of what was saved, over seeds, and only where all seeds measured it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tenfold.compare.comparison import Entry
from tenfold.compare.kept import GENERAL_TEXT, averaged, kept
from tenfold.evaluation.scorecard import RETENTION, Measure, Score
from tests.compare.artifacts import accuracy, artifact

BITS = [1.0, 1.2, 1.4, 1.1, 1.3, 1.5, 1.6, 1.7]


def bits(values: list[float]) -> Score:
    return Score("compared", RETENTION, {GENERAL_TEXT: Measure(GENERAL_TEXT, "bits per byte", False, tuple(values))})


def test_seeds_are_averaged_item_by_item(tmp_path: Path) -> None:
    first = artifact(tmp_path / "0", general=(BITS, [each + 0.1 for each in BITS]))
    second = artifact(tmp_path / "1", seed=1, general=(BITS, [each + 0.3 for each in BITS]))
    found = kept(Entry("e", (first, second)), GENERAL_TEXT)
    assert found is not None
    assert found.change.test.difference.mean == pytest.approx(0.2)
    assert found.change.is_worse
    assert averaged([accuracy([0, 1]), accuracy([1, 1])]).items == (0.5, 1.0)


def test_what_was_trained_to_be_compared_with_does_not_count_but_what_was_saved_does(tmp_path: Path) -> None:
    worse = bits([each + 9 for each in BITS])
    late = Score("calibrated", "main", {"accuracy": accuracy((1, 0, 1, 1))})
    run = artifact(tmp_path / "0", general=(BITS, BITS), others=[worse], later=[late])
    found = kept(Entry("e", (run,)), GENERAL_TEXT)
    assert found is not None
    assert found.after.value == pytest.approx(sum(BITS) / len(BITS))


def test_nothing_is_told_where_a_seed_did_not_measure_it(tmp_path: Path) -> None:
    runs = artifact(tmp_path / "0", general=(BITS, BITS)), artifact(tmp_path / "1", seed=1)
    assert kept(Entry("e", runs), GENERAL_TEXT) is None
