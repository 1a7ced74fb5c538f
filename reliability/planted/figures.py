"""The planted faults' figures as JSON and as a section of docs/reliability.md."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from bench.machine import circumstances, load, pin
from bench.told import line_of_machine, table
from reliability.crash.workloads import BASIS, lay_out
from reliability.planted import rows, training
from tenfold import __version__
from tenfold.data.checking.checking import check_rows
from tenfold.data.checking.finding import KINDS
from tenfold.paths import cache_at
from tests.data.checking.planted import clean_rows, write_rows

CORE = "1"

CLEAN_ROWS = 2_000
"""Without any fault: what is told of them is a false alarm."""


def measured() -> dict[str, Any]:
    """Plant every fault, one at a time, and return what was told of each; what is missed is printed as it is found."""
    pin(CORE)
    torch.set_num_threads(1)
    before, started = load(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tenfold-planted-") as folder, cache_at(Path(folder) / "cache"):
        root = Path(folder)
        lay_out(root)
        found = {"training": list(_in_training(root)), "rows": list(_in_rows(root))}
        false = rows.counts(check_rows([write_rows(root / "clean.jsonl", clean_rows(CLEAN_ROWS))]))
        failed = training.failed_checks(training.Fault(training.nothing, set()), _settings(root))
    return {
        "kind": "planted",
        "tenfold": __version__,
        "minutes": round((time.monotonic() - started) / 60, 1),
        **found,
        "without": {"checks_failed": sorted(failed), "clean_rows": CLEAN_ROWS, "findings": false},
        **circumstances(before, pinned_to=CORE, threads=1),
    }


def _settings(root: Path) -> dict[str, Any]:
    data = {**BASIS["data"], "train": str(root / "lamps.jsonl")}
    return {**BASIS, "model": {"name": str(root / "llama")}, "data": data, "output": str(root / "out")}


def _in_training(root: Path) -> Iterator[dict[str, Any]]:
    for name, fault in training.FAULTS.items():
        failed = training.failed_checks(fault, _settings(root))
        yield _told(name, sorted(fault.checks), sorted(failed), is_caught=failed == fault.checks)


def _in_rows(root: Path) -> Iterator[dict[str, Any]]:
    for name, fault in rows.FAULTS.items():
        checked = rows.checked_with(fault, root)
        is_placed = f"rows.jsonl, line {rows.PLANTED}" in rows.places(checked)
        found = rows.counts(checked)
        yield _told(name, [fault.kind], sorted(found), is_caught=found == fault.expected and is_placed)


def _told(fault: str, expected: list[str], told: list[str], *, is_caught: bool) -> dict[str, Any]:
    print(f"{fault}: {', '.join(told) or 'nothing'}{'' if is_caught else f', not {expected}'}", flush=True)
    return {"fault": fault, "expected": expected, "told": told, "caught": is_caught}


def section(result: Mapping[str, Any]) -> str:
    """Return the section that tells what was planted and what was caught."""
    without = result["without"]
    alarms = ", ".join((*without["checks_failed"], *without["findings"])) or "nothing is told"
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for each in result["rows"]:
        by_kind.setdefault(each["expected"][0], []).append(each)
    of_rows = {
        KINDS[kind].title: [", ".join(each["fault"] for each in planted), _share(planted)]
        for kind, planted in by_kind.items()
    }
    of_training = {each["fault"]: [", ".join(each["expected"]), _share([each])] for each in result["training"]}
    return f"""## Faults planted

**{_share(result["training"])} faults of training caught, {_share(result["rows"])} faults of rows.** Each is planted \
alone; caught means that what is there for it tells of it, at its place, and that nothing else does. Without a fault \
{alarms} (all checks of `tenfold verify`; {without["clean_rows"]:,} clean rows).

In Tenfold itself, by replacing a function while `tenfold verify` runs on a tiny model; the check that has to fail:

{table(["planted", "fails", "caught"], of_training)}

In one row among {rows.CLEAN}, then `tenfold data check`:

{table(["told as", "planted", "caught"], of_rows)}

Faults nobody thought of are not among them: this says that the checks work, not that they are complete. Leaks \
between files, contradicting labels, repeated answers and other languages need several rows: `tests/data/checking/` \
plants those.

`make planted` does it again. {result["minutes"]} minutes; {line_of_machine(result)}
"""


def _share(planted: list[dict[str, Any]]) -> str:
    return f"{sum(each['caught'] for each in planted)} of {len(planted)}"
