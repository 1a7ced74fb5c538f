"""How several adapters on one base work together, as small values: one alone, one on another, several fused.

"legal"                          the adapter of that name
Stack("lang-de", "legal")        `legal` reads what `lang-de` makes of the sub-layer's output
Fuse("legal", "medical")         an attention over both decides, token by token
Stack("lang-de", Fuse("legal", "medical"))
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, init=False)
class Fuse:
    """AdapterFusion of the adapters of these names (Pfeiffer et al. 2021, arXiv 2005.00247)."""

    names: tuple[str, ...]

    def __init__(self, *names: str) -> None:
        object.__setattr__(self, "names", names)

    @property
    def key(self) -> str:
        """The name of the fusion itself."""
        return "+".join(self.names)


@dataclass(frozen=True, init=False)
class Stack:
    """Adapters one upon the other, the lowest first (MAD-X, Pfeiffer et al. 2020, arXiv 2005.00052)."""

    parts: tuple[str | Fuse, ...]

    def __init__(self, *parts: str | Fuse) -> None:
        object.__setattr__(self, "parts", parts)


Composition: TypeAlias = str | Fuse | Stack


def names_in(composition: Composition | None) -> Iterator[str]:
    """Yield the name of every adapter that takes part; none for None, the bare base."""
    if isinstance(composition, str):
        yield composition
    elif isinstance(composition, Fuse):
        yield from composition.names
    elif isinstance(composition, Stack):
        for part in composition.parts:
            yield from names_in(part)


def fusions_in(composition: Composition | None) -> list[Fuse]:
    """Return the fusions that take part."""
    parts = composition.parts if isinstance(composition, Stack) else (composition,)
    return [part for part in parts if isinstance(part, Fuse)]


def from_text(text: str) -> Composition | None:
    """Return what `text` says: `legal`, `legal+medical` fused, `lang-de/legal` stacked, `none` for the bare base."""
    if text == "none":
        return None
    parts = [Fuse(*part.split("+")) if "+" in part else part for part in text.split("/")]
    return parts[0] if len(parts) == 1 else Stack(*parts)


def to_json(composition: Composition | None) -> object:
    """Return a plain JSON value for `composition`."""
    if isinstance(composition, Fuse):
        return {"fuse": list(composition.names)}
    if isinstance(composition, Stack):
        return {"stack": [to_json(part) for part in composition.parts]}
    return composition


def from_json(value: object) -> Composition | None:
    """Return what `to_json` wrote.

    Raises:
        ValueError: it did not write this.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict) and len(value) == 1:
        ((kind, parts),) = value.items()
        if kind == "fuse" and isinstance(parts, list) and all(isinstance(part, str) for part in parts):
            return Fuse(*parts)
        if kind == "stack" and isinstance(parts, list):
            read = [from_json(part) for part in parts]
            return Stack(*(part for part in read if isinstance(part, str | Fuse)))
    raise ValueError(f"{value!r} is not a composition")
