"""Collections: what is there before is not looked at, what is made inside is freed, and all is as before at the end."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from tenfold.garbage import YOUNGER_BETWEEN, only_new_garbage, rare_collections


class Circle:
    """Holds itself, as models do."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def by_hand() -> Iterator[None]:
    """No collection but those that are asked for."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("by_hand")
def test_only_what_is_made_inside_is_collected_until_the_end() -> None:
    before = weakref.ref(Circle())
    with only_new_garbage():
        inside = weakref.ref(Circle())
        gc.collect()
        assert (before() is None, inside() is None) == (False, True)
    gc.collect()
    assert before() is None


def test_collections_are_as_they_were_afterwards() -> None:
    thresholds = gc.get_threshold()
    with pytest.raises(ZeroDivisionError), rare_collections():
        inside = gc.get_threshold()
        raise ZeroDivisionError
    assert gc.get_threshold() == thresholds
    if thresholds[2]:  # 0 where whole collections have no threshold, as in Python 3.14
        assert inside == (*thresholds[:2], YOUNGER_BETWEEN)
