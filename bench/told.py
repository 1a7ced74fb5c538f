"""Figures in words, for docs/performance.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def range_of(values: Mapping[str, float], digits: int) -> str:
    """Return `4.11 (3.68–4.19)`: median, smallest and largest; `4.11` alone where they are one figure."""
    if values["min"] == values["max"]:
        return f"{values['median']:,.{digits}f}"
    middle, low, high = (f"{values[name]:,.{digits}f}" for name in ("median", "min", "max"))
    return f"{middle} ({low}–{high})"


def times(count: int) -> str:
    """Return `once`, or `3 times`."""
    return "once" if count == 1 else f"{count} times"


def losses(values: Sequence[float]) -> str:
    """Return each update's loss."""
    return ", ".join(f"{loss:.2f}" for loss in values)


def settings_of(settings: Mapping[str, object]) -> str:
    """Return a program's settings, a line each."""
    return "<br>".join(f"`{name}={value}`" for name, value in settings.items())


def versions_of(versions: Mapping[str, str]) -> str:
    """Return the packages that a program stood on."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def table(heads: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """Return a table with a name before each row."""
    lines = [heads, ["---"] * len(heads), *([name, *cells] for name, cells in rows.items())]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


def line_of_machine(result: Mapping[str, Any]) -> str:
    """Return when and where it was measured, and how busy that machine was."""
    of, load = result["machine"], result["load_average"]
    pinned = f", pinned to core {of['pinned_to']} of {of['cores']}" if "pinned_to" in of else f", {of['cores']} cores"
    threads = f", {of['threads']} thread{'' if of['threads'] == 1 else 's'}" if "threads" in of else ""
    on = f"{of['processor']} ({', '.join(of['flags'])}), {of['system']}{pinned}{threads}"
    return f"{result['date']}, {on}; load average {load['start'][0]} at the start, {load['end'][0]} at the end."
