"""How a time is told to people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return `0.42 s`, `45 s`, `12 min` or `3.4 h`."""
    if 0 < seconds < 1:
        return f"{seconds:.2g} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
