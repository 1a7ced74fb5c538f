"""The campaign's figures as JSON and as a section of docs/reliability.md."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from bench.machine import circumstances, load, pin
from bench.told import line_of_machine, table
from reliability.crash.campaign import MOST_KILLS, Tally, kill_all, prepare
from reliability.crash.outcome import NOT_COMPARED
from tenfold import __version__

CORE = "1"
USUAL_KILLS = 20
"""Of each workload, where no number is asked for."""


def measured(*, kills: int, seed: int) -> dict[str, Any]:
    """Return what came of at least `kills` kills of each workload; what fails is printed as it is found."""
    pin(CORE)
    torch.set_num_threads(1)
    before, started = load(), time.monotonic()
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory(prefix="tenfold-crash-", ignore_cleanup_errors=True) as folder:
        prepare(Path(folder))
        for name, tally in kill_all(Path(folder), kills=kills, seed=seed):
            tallies[name] = tally
            print(f"{name}: {tally.kills} kills, {tally.survived} survived", *tally.faults, sep="\n  ", flush=True)
    states: Counter[str] = sum((tally.where for tally in tallies.values()), Counter())
    return {
        "kind": "crash",
        "tenfold": __version__,
        "seed": seed,
        "kills": kills,
        "minutes": round((time.monotonic() - started) / 60, 1),
        "workloads": {name: _figures(tally) for name, tally in tallies.items()},
        "states": dict(states.most_common()),
        "not_compared": list(NOT_COMPARED),
        **circumstances(before, pinned_to=CORE, threads=1),
    }


def _figures(tally: Tally) -> dict[str, Any]:
    return {
        "technique": tally.technique,
        "runs": tally.runs,
        "kills": tally.kills,
        "by_clock": tally.by_time,
        "by_write": tally.by_write,
        "survived": tally.survived,
        "faults": tally.faults,
    }


def section(result: Mapping[str, Any]) -> str:
    """Return the section that tells a campaign's figures."""
    rows = result["workloads"].values()
    kills, survived = (sum(row[name] for row in rows) for name in ("kills", "survived"))
    keys = ("runs", "by_clock", "by_write", "kills", "survived")
    cells = {f"`{name}`": [str(row[key]) for key in keys] for name, row in result["workloads"].items()}
    cells["all"] = [str(sum(row[key] for row in rows)) for key in keys]
    heads = ["run", "runs", "killed by the clock", "killed at a write", "kills", "survived"]
    states = "; ".join(f"{number} {state}" for state, number in result["states"].items())
    left_out = "\n".join(f"* {each}" for each in result["not_compared"])
    return f"""## Killed at any moment

**{kills} kills with SIGKILL, {survived} survived.** A run of every technique on tiny models is killed up to \
{MOST_KILLS} times, given again with the same command until it ends, and compared with one that nobody disturbed: \
weights, scores, predictions, losses of all updates and the cache must be the same to the bit, and nothing \
half-written may be left. Half of the moments are drawn over the run's whole life, half are at one of its changes to \
files, or up to 3 ms after it.

{table(heads, cells)}

Where the kills fell: {states}.

Not compared, as no two runs have it alike:

{left_out}

The killed processes are forked from one that has imported the libraries, and are given the command `tenfold run`; \
all else is as on the command line. Not covered: losing power (what was written but not yet on the disk), and more \
than one machine.

`python -m reliability crash --kills {result["kills"]} --seed {result["seed"]}` does it again (`make crash` means \
{USUAL_KILLS} kills of each), another seed draws other moments. {result["minutes"]} minutes; \
{line_of_machine(result)}
"""
