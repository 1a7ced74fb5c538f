"""Collections: what is there before is not looked at, what is made inside is freed, and all is as before at the end."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from tenfold.garbage import collector, rare_collections


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
    with collector() as free:
        inside = weakref.ref(Circle())
        free()
        assert (before() is None, inside() is None) == (False, True)
    gc.collect()
    assert before() is None
    assert not gc.get_freeze_count()


def test_collections_are_as_they_were_afterwards() -> None:
    thresholds = gc.get_threshold()
    with pytest.raises(ZeroDivisionError), rare_collections():
        assert gc.get_threshold()[2] > thresholds[2]
        raise ZeroDivisionError
    assert gc.get_threshold() == thresholds
