"""Axes: what is written beside them is round, and true."""

from __future__ import annotations

import pytest

from tenfold.compare.report.scales import Scale, of_amounts, over
from tenfold.evaluation.duration import duration


def test_a_value_lies_where_it_should_and_turned_where_less_is_better() -> None:
    assert Scale(0, 10).at(2.5) == 0.25
    assert Scale(0, 10, is_reversed=True).at(2.5) == 0.75
    assert Scale(1, 100, is_log=True).at(10) == pytest.approx(0.5)
    assert Scale(0, 10).at(99) == 1.0


def test_ticks_are_round_and_inside() -> None:
    assert Scale(0.33, 0.71).ticks() == [0.4, 0.5, 0.6, 0.7]
    assert Scale(40, 6000, is_log=True).ticks() == [50, 200, 1000, 5000]


@pytest.mark.parametrize("longest", [0.4, 3, 50, 100, 200, 400, 3000, 9000, 40_000, 400_000])
@pytest.mark.parametrize("shortest", [1.0, 0.01])
def test_a_time_beside_an_axis_is_the_time_that_lies_there(longest: float, shortest: float) -> None:
    units = {"s": 1, "min": 60, "h": 3600}
    ticks = of_amounts([longest * shortest, longest], is_time=True).ticks(4)
    assert 1 <= len(ticks) <= 6
    for tick in ticks:
        told, unit = duration(tick).split()
        assert float(told) * units[unit] == pytest.approx(tick)


def test_amounts_begin_at_zero_unless_they_differ_widely() -> None:
    assert (of_amounts([5, 10]).low, of_amounts([5, 10]).is_log) == (0.0, False)
    assert of_amounts([1, 100]).is_log
    assert not of_amounts([0, 100]).is_log
    assert not of_amounts([0, 0]).is_log


def test_scores_keep_to_their_bounds_and_equal_ones_have_room() -> None:
    assert (over([0.1, 1.0], bounds=(0, 1)).high, over([1.0], bounds=(0, 1)).high) == (1.0, 1.0)
    assert over([float("nan")]).high > over([float("nan")]).low
    assert over([0.5]).low < 0.5 < over([0.5]).high
