"""Drawings as SVG: each function gives an element; text is escaped by the writer of the tree, never by hand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

NUM_COLOURS = 8
_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def colour(place: int) -> str:
    """Return the class of the colour for the entry at `place`; the style sheet has one for light and one for dark."""
    return f"k{place % NUM_COLOURS}"


def drawing(title: str, description: str, *, size: tuple[float, float] | None, name: str = "") -> Element:
    """Return an empty drawing with what a screen reader says of it; without a size it is as wide as its place."""
    attributes = {"role": "img", "aria-label": clean(title)}
    if size is not None:
        attributes |= {"viewBox": f"0 0 {size[0]:g} {size[1]:g}"}
    if name:
        attributes["class"] = name
    root = Element("svg", attributes)
    SubElement(root, "title").text = clean(title)
    SubElement(root, "desc").text = clean(description)
    return root


def line(parent: Element, start: tuple[object, object], end: tuple[object, object], name: str) -> None:
    """Draw a straight line; a place is a number of units or a share of the width such as `12%`."""
    SubElement(
        parent, "line", {"x1": _of(start[0]), "y1": _of(start[1]), "x2": _of(end[0]), "y2": _of(end[1]), "class": name}
    )


def path(parent: Element, points: Sequence[tuple[float, float]], name: str, title: str = "") -> None:
    """Draw a line through `points`."""
    drawn = SubElement(parent, "polyline", {"points": " ".join(f"{x:.1f},{y:.1f}" for x, y in points), "class": name})
    if title:
        SubElement(drawn, "title").text = clean(title)


def dot(parent: Element, at: tuple[object, object], radius: float, name: str, title: str = "") -> None:
    """Draw a dot; `title` is told where the pointer rests on it."""
    drawn = SubElement(parent, "circle", {"cx": _of(at[0]), "cy": _of(at[1]), "r": f"{radius:g}", "class": name})
    if title:
        SubElement(drawn, "title").text = clean(title)


def box(parent: Element, at: tuple[object, object], size: tuple[object, object], name: str) -> None:
    """Draw a filled rectangle with round corners."""
    x, y, width, height = (_of(part) for part in (*at, *size))
    SubElement(parent, "rect", {"x": x, "y": y, "width": width, "height": height, "rx": "3", "class": name})


def text(parent: Element, at: tuple[object, object], words: str, name: str, *, anchor: str = "middle") -> None:
    """Write `words` at a place."""
    written = SubElement(parent, "text", {"x": _of(at[0]), "y": _of(at[1]), "class": name, "text-anchor": anchor})
    written.text = clean(words)


def markup(root: Element) -> str:
    """Return the drawing as it stands in a page."""
    return tostring(root, encoding="unicode")


def clean(words: str) -> str:
    """Return the words without what no XML may hold."""
    return _ILLEGAL.sub("\ufffd", words)


def _of(place: object) -> str:
    return f"{place:.1f}" if isinstance(place, float) else str(place)
