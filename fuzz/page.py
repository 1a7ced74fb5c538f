"""What the long search came to, as a part of docs/reliability.md."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def results() -> list[dict[str, Any]]:
    """Return the figures of all targets, the one with the most inputs first."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    return sorted(found, key=lambda result: -result["executions"])


def section(found: Sequence[dict[str, Any]]) -> str:
    """Return the part of the page about all targets."""
    lines = [
        f"| {each['about']} | {each['executions']:,} | {each['seconds']:,.0f} | {each['seeds']} | {each['corpus']:,} | "
        f"{'; '.join(each['breaches']) or 'held'} |"
        for each in found
    ]
    total, first = sum(each["executions"] for each in found), found[0]
    table = "\n".join(lines)
    return f"""## Hostile input

**{total:,}** inputs made by a coverage-guided fuzzer (atheris {first["versions"]["atheris"]}) from hand-made ones that
are kept in `fuzz/corpus/`. The promise: a result or an error that says what to mend, never another exception, no more
than a second, no unbounded memory. [SECURITY.md](../SECURITY.md) says what follows from it and what does not.

| what reads it | inputs | seconds | hand-made | kept, since they reached new code | promise |
|---|---|---|---|---|---|
{table}

* `make fuzz RUNS=20000 ONLY=rows_csv`; without `ONLY` every target. Parquet and safetensors are read by native code, of
  which the fuzzer sees no coverage; targets that write files have had few inputs.
* {first["date"]}, {first["machine"]["processor"]}, Python {first["machine"]["python"]}, a machine that others shared.
"""
