"""When garbage is collected: where models are let go (some hold themselves in circles), rarely while libraries load."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

YOUNGER_BETWEEN = 200
"""Collections of younger objects before a whole one; loading all libraries takes some 170 of them."""


@contextmanager
def only_new_garbage() -> Iterator[None]:
    """Let collections inside the block, or in the function that this decorates, look at nothing that is there before.

    The libraries' objects, a million of them, would take most of a collection's time. At the end everything is looked
    at again, also what the caller had frozen.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let whole collections be rare inside the block, a command: while its libraries load they find next to nothing.

    Python 3.14 collects a little at a time instead, and takes no notice.
    """
    before = gc.get_threshold()
    gc.set_threshold(before[0], before[1], max(before[2], YOUNGER_BETWEEN))
    try:
        yield
    finally:
        gc.set_threshold(*before)
