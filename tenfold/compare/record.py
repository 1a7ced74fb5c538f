"""`comparison.json`: what came of a comparison, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tenfold.compare.bill import bill_of
from tenfold.compare.comparison import Comparison
from tenfold.compare.ranking import Standing
from tenfold.compare.verdict import verdict
from tenfold.files import write_json


def write_record(comparison: Comparison, standings: Sequence[Standing], path: Path) -> None:
    """Write the verdict, the terms, and for each entry its standing, cost, search, runs and failures."""
    stands = {standing.name: standing for standing in standings}
    entries = [
        {
            "name": entry.name,
            "standing": asdict(stands[entry.name]) if entry.name in stands else None,
            "cost": asdict(bill_of(entry)) if entry.runs else None,
            "search": [asdict(tried) for tried in entry.search],
            "search_failures": list(entry.search_failures),
            "runs": [str(run.folder) for run in entry.runs],
            "failures": list(entry.failures),
            "note": entry.note,
        }
        for entry in comparison.entries
    ]
    told = {"title": comparison.title, "verdict": verdict(comparison, standings), "rules": list(comparison.rules)}
    write_json(path, {**told, "entries": entries, "refused": dict(comparison.refused)})
