"""docs/evidence.md, written from evidence/results/*.json so that the page never says what was not measured."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evidence.experiments import EXPERIMENTS, ROOT, Experiment
from tenfold.files import write_json

RESULTS = Path(__file__).parent / "results"
PAGE = ROOT / "docs/evidence.md"

HEAD = """# Evidence: which claims hold here?

<!-- Written by `python -m evidence.measure --write-docs` from evidence/results/: change evidence/findings.py. -->

Each technique's literature promises something. Below is what came of it on real rows, by the reference recipe of each
technique; `make evidence` runs them all (`make evidence ONLY=adapters` one). *Held* and *not held here* are said only
where the interval (95 %, by bootstrap over test rows, or by a paired test of the same rows) is clear of the boundary;
else it is *unclear*. Counts, and single measurements of time and memory, have no interval and are judged as they are. A
seed decides the order of the rows, the starting values and which rows are drawn. Small models, few rows, one machine:
what does not hold here may hold elsewhere, and the other way round.
"""


def path_of(technique: str) -> Path:
    """Return where the figures of `technique` are kept."""
    return RESULTS / f"{technique}.json"


def keep(technique: str, run: Mapping[str, Any]) -> None:
    """Keep the figures of `run` in place of those of the same seed."""
    path = path_of(technique)
    others = [kept for kept in _runs(technique) if kept["seed"] != run["seed"]] if path.is_file() else []
    runs = sorted([*others, run], key=lambda kept: kept["seed"])
    write_json(path, {"technique": technique, "runs": runs})


def kept(technique: str, seed: int) -> dict[str, Any] | None:
    """Return the figures of `technique` with that seed, None where none are kept."""
    runs = _runs(technique) if path_of(technique).is_file() else []
    return next((run for run in runs if run["seed"] == seed), None)


def page() -> str:
    """Return the whole page."""
    sections = [section(experiment) for experiment in EXPERIMENTS.values() if path_of(experiment.technique).is_file()]
    missing = [name for name in EXPERIMENTS if not path_of(name).is_file()]
    tail = [f"Not measured yet: {', '.join(missing)}.\n"] if missing else []
    return "\n".join([HEAD, overview(), *sections, *tail])


def overview() -> str:
    """Return a table: technique, claims held, not held, unclear."""
    lines = ["| technique | held | not held here | unclear | seeds |", "|---|---|---|---|---|"]
    for name in EXPERIMENTS:
        if path_of(name).is_file():
            runs = _runs(name)
            counts = Counter(pooled([claim["outcome"] for claim in claims]) for claims in _by_claim(runs))
            mixed = sum(counts.values()) - sum(counts[known] for known in ("held", "not held here"))
            lines.append(
                f"| [{name}](#{name}) | {counts['held']} | {counts['not held here']} | {mixed} | {len(runs)} |"
            )
    return "\n".join(lines) + "\n\nA claim that came out differently from seed to seed counts as unclear.\n"


def section(experiment: Experiment) -> str:
    """Return what `experiment` found: claim by claim, then its cost and the commands."""
    runs = _runs(experiment.technique)
    parts = [f"## {experiment.technique}\n", _filled(experiment.about) + "\n"]
    for claims in _by_claim(runs):
        parts.append(_filled(f"**{claims[0]['claim']}** ({claims[0]['source']}): {_verdict(claims)}.") + "\n")
        parts += [_point(f"seed {run['seed']}: {claim['because']}") for run, claim in zip(runs, claims, strict=True)]
        parts.append("")
    parts += ["Cost:\n", *(_point(f"seed {run['seed']}: {cost(run)}") for run in runs)]
    parts.append("\n```\n" + "\n".join(shlex.join(run["command"]) for run in runs) + "\n```\n")
    return "\n".join(parts)


def pooled(outcomes: Sequence[str]) -> str:
    """Return what all seeds agree on, or how many came to what."""
    counts = Counter(outcomes)
    if len(counts) == 1:
        return outcomes[0]
    return ", ".join(f"{outcome} with {count} of {len(outcomes)} seeds" for outcome, count in counts.most_common())


def cost(run: Mapping[str, Any]) -> str:
    """Return what a run took, and on what."""
    spent = run["cost"]
    minutes = {
        "training": spent["train_seconds"],
        "what it is compared with": spent["comparison_seconds"],
        "scoring": spent["evaluation_seconds"],
    }
    times = ", ".join(f"{seconds / 60:.1f} min {name}" for name, seconds in minutes.items() if seconds)
    packages = ", ".join(f"{name} {version}" for name, version in run["packages"].items())
    return (
        f"{times}; {spent['peak_memory_bytes'] / 1e9:.2f} GB at most; {spent['trainable_parameters']:,} of "
        f"{spent['total_parameters']:,} parameters trained, {spent['bytes_on_disk'] / 1e6:.1f} MB saved "
        f"({run['date']}, {run['device']}, {run['threads']} threads, load {run['load_average_at_start']} at the start, "
        f"{packages})"
    )


def _runs(technique: str) -> list[dict[str, Any]]:
    kept: list[dict[str, Any]] = json.loads(path_of(technique).read_text(encoding="utf-8"))["runs"]
    return kept


def _by_claim(runs: Sequence[Mapping[str, Any]]) -> list[tuple[dict[str, str], ...]]:
    return list(zip(*(run["claims"] for run in runs), strict=True))


def _verdict(claims: Sequence[Mapping[str, str]]) -> str:
    return pooled([claim["outcome"] for claim in claims])


def _filled(text: str) -> str:
    return textwrap.fill(text, width=118, break_long_words=False, break_on_hyphens=False)


def _point(text: str) -> str:
    return textwrap.fill("- " + text, width=118, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
