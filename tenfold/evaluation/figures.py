"""How figures are written for people, wherever they are shown."""

from __future__ import annotations

import math


def share_text(share: float) -> str:
    """Return a share as per cent, `2.90%`; with two significant digits where that would read `0.00%`."""
    decimals = 2 if share == 0 or share >= 1e-4 else 1 - math.floor(math.log10(100 * share))
    return f"{share:.{decimals}%}"


def counted(count: float, noun: str) -> str:
    """Return `1 row` or `1,200 rows`."""
    return f"{count:,.0f} {noun}{'' if f'{count:.0f}' == '1' else 's'}"
