"""When garbage is collected: where models are let go (some hold themselves in circles), rarely while libraries load."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

YOUNGER_BETWEEN = 200
"""Collections of younger objects before a whole one; loading all libraries takes some 170 of them."""


@contextmanager
def collector() -> Iterator[Callable[[], int]]:
    """Yield what frees the garbage made inside the block.

    It does not look at what is there before: the libraries' objects, a million of them, would take a second of it.
    At the end everything is looked at again, also what the caller had frozen.
    """
    gc.freeze()
    try:
        yield gc.collect
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
