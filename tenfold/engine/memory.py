"""What is said when an evaluation runs out of memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tenfold.errors import OutOfMemory, Problem
from tenfold.models.memory import is_out_of_memory


@contextmanager
def out_of_memory_named(where: str) -> Iterator[None]:
    """Raise `OutOfMemory` with the remedy where the block, an evaluation, runs out of memory."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        remedy = "lower evaluation.max_new_tokens or data.max_length, or set runtime.precision: bf16"
        raise OutOfMemory(Problem(where, "out of memory", remedy=remedy)) from error
