"""Has memory run out? The libraries below say it in many ways."""

from __future__ import annotations

import torch

_SIGNS = (
    "can't allocate memory",  # torch's CPU allocator
    "Cannot allocate memory",  # the system, also as safetensors passes it on
    "could not create a primitive",  # oneDNN, which could get no room for its code
)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether `error` says that memory has run out, on whatever device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # "could not create a primitive descriptor" is another fault: an operation that oneDNN does not have
    text = str(error).replace("primitive descriptor", "")
    return any(sign in text for sign in _SIGNS)
