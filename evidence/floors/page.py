"""FLOORS.md: the floors as a table, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

HEAD = """# Floors: what simple means reach

Written by `python -m evidence.floors` from `floors.json`, which has dates, versions and the seed. Figures are on the
test rows, with 95 % bootstrap intervals over rows. TF-IDF is a linear model on words and pairs of words (on letters for
diseases and intents). "Random split" takes the same rows, divided without regard to groups: it shows how much such a
split would flatter. Lower is better for the absolute error.
"""


def write_page(path: Path, kept: Mapping[str, object]) -> None:
    """Write the table of the figures in `kept` to `path`."""
    path.write_text(HEAD + "\n" + "\n".join(table(kept)) + "\n", encoding="utf-8")


def table(kept: Mapping[str, object]) -> list[str]:
    """Return the lines of the table, a means a line."""
    lines = ["| table | train / test rows | means | figures |", "|---|---|---|---|"]
    for name, measured in kept.items():
        assert isinstance(measured, dict)
        rows = f"{measured['rows']['train']:,} / {measured['rows']['test']:,}"
        for means, figures in measured["floors"].items():
            shown = " · ".join(
                f"{metric} {value:.3f} [{low:.3f}, {high:.3f}]" for metric, (value, low, high) in figures.items()
            )
            lines.append(f"| {name} | {rows} | {means} | {shown} |")
            name, rows = "", ""
    return lines
