"""How much of a GPU a process had: the same count on both sides."""

from __future__ import annotations

import torch


def gpu_memory() -> dict[str, int]:
    """Return the most bytes that torch ever had in use on the GPU and held there; nothing where there is none."""
    if not torch.cuda.is_available():
        return {}
    return {"allocated_bytes": torch.cuda.max_memory_allocated(), "reserved_bytes": torch.cuda.max_memory_reserved()}
