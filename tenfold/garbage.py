"""When garbage is collected: where models are let go (some hold themselves in circles), not while libraries load."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def collector() -> Iterator[Callable[[], int]]:
    """Yield what frees the garbage made inside the block.

    It does not look at what is there before: the libraries' objects, a million of them, would take a second of it.
    """
    gc.freeze()
    try:
        yield gc.collect
    finally:
        gc.unfreeze()


@contextmanager
def rare_collections() -> Iterator[None]:
    """Let whole collections wait, in a process of our own: while the libraries load they find next to nothing."""
    before = gc.get_threshold()
    gc.set_threshold(before[0], before[1], 1000)
    try:
        yield
    finally:
        gc.set_threshold(*before)
