"""Models hold themselves in circles: they are freed when garbage is collected, not when the last of us lets go."""

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
