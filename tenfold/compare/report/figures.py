"""How numbers and text are told in the report."""

from __future__ import annotations

from dataclasses import dataclass

from tenfold.plain import on_screen


@dataclass(frozen=True)
class Figure:
    """A figure as it is told, and the number by which its column is sorted; None comes last."""

    text: str
    value: float | None = None


def size(num_bytes: float) -> str:
    """Return `1.25 GB`, `48 MB` or `300 kB`."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= factor:
            return f"{num_bytes / factor:.3g} {unit}"
    return f"{num_bytes:.0f} bytes"


def number(value: float) -> str:
    """Return `0.85`, `1200` or `3e-05`: as many digits as an axis needs."""
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def shown(text: object, limit: int = 600) -> str:
    """Return the beginning of the text, without characters that nobody can see but that change what is read."""
    clean = on_screen(str(text))
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
