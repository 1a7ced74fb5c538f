"""What was tried on a frozen model's features: a table of estimators, layers and poolings with the score of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from tenfold.artifact import Artifact
from tenfold.features.candidates import read_candidates

SHOWN = 10
"""Candidates shown; the file has all."""


def candidate_tables(artifact: Artifact) -> Iterator[Table | str]:
    """Yield what `before` stands for, and a table of candidates for each task, where estimators were fitted.

    Raises:
        ArtifactError: a table is missing or damaged.
    """
    if artifact.facts["weights"] != "estimators":
        return
    yield "[dim]before: without features, every row answered with the majority class (or the mean)[/dim]"
    for task in artifact.facts["tasks"]:
        yield _candidates(task, read_candidates(artifact.weights / task))


def _candidates(task: str, tried: Mapping[str, Any]) -> Table:
    metric = str(tried["metric"]).replace("_", " ")
    title = f"\nTried on {escape(task)}: {metric} in {tried['folds']} folds of the training rows"
    table = Table(title=title, box=None, pad_edge=False, title_justify="left", title_style="bold")
    for heading in ("estimator", "layers", "pooling"):
        table.add_column(heading)
    for heading in ("mean", "worst fold", "seconds"):
        table.add_column(heading, justify="right")
    ranked = sorted(tried["candidates"], key=lambda each: -float("inf") if each["mean"] is None else each["mean"])
    best = tried["candidates"][tried["best"]]
    for each in ranked[::-1][:SHOWN]:
        options = ", ".join(f"{key}={value}" for key, value in each["options"].items())
        name = f"{each['estimator']}({options})"
        layers = " + ".join(map(str, each["layers"]))
        scores = ("failed", "") if each["mean"] is None else (f"{each['mean']:.4f}", f"{min(each['scores']):.4f}")
        style = "green" if each is best else ""
        table.add_row(escape(name), layers, each["pooling"], *scores, f"{each['seconds']:.1f}", style=style)
        if each["note"]:
            table.add_row(f"  [dim]{escape(each['note'])}[/dim]")
    if len(ranked) > SHOWN:
        table.add_row(f"[dim]… and {len(ranked) - SHOWN} more in candidates.json[/dim]")
    return table
