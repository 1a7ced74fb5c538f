"""The fuzzer's command line: search every target, keep what was counted as JSON in fuzz/results."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import machine
from fuzz.targets import TARGETS

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "fuzz/results"
WORK = ROOT / "build/fuzz"


def searched(name: str, runs: int) -> dict[str, Any]:
    """Return the figures of one target's search, ready for JSON; it goes on from the inputs of earlier searches."""
    before, folder = machine.load(), WORK / name
    count = folder / "count.json"
    count.unlink(missing_ok=True)
    executions, seconds, ended, breaches = 0, 0.0, 0, set[str]()
    while executions < runs:
        command = [sys.executable, "-m", "fuzz.engine", name, str(runs - executions), str(folder)]
        said = folder.with_suffix(".log")
        said.parent.mkdir(parents=True, exist_ok=True)
        with said.open("a", encoding="utf-8") as log:
            done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False, env=_environment())
        if not count.is_file():
            raise RuntimeError(f"{name} could not be searched: see {said}")
        counted = json.loads(count.read_text(encoding="utf-8"))
        count.unlink()
        executions += counted["executions"]
        seconds += counted["seconds"]
        breaches |= set(counted["breaches"])
        if done.returncode:  # libFuzzer gave up on an input, which now lies in the folder as ended-…
            ended += 1
            if ended == 10:
                break
    return {
        "kind": "fuzz",
        "name": name,
        "about": TARGETS[name].about,
        **machine.circumstances(before),
        "versions": {package: version(package) for package in ("atheris", "tenfold")},
        "executions": executions,
        "seconds": round(seconds, 1),
        "crashes": len(breaches) + ended,
        "breaches": sorted(breaches) + ["ended by libFuzzer: 20 s or 4 GB"] * ended,
        "corpus": len(list((folder / "corpus").iterdir())),
        "seeds": len(TARGETS[name].seeds),
    }


def _environment() -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def main() -> None:
    """Search; the exit code is 1 where the promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--only", choices=sorted(TARGETS), help="search this target alone")
    told = "executions of a fast target; slow ones have a share of it"
    parser.add_argument("--runs", type=int, default=150_000, help=told)
    arguments = parser.parse_args()
    broken = False
    for name in [arguments.only] if arguments.only else TARGETS:
        figures = searched(name, int(arguments.runs * TARGETS[name].share))
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
        told = "; ".join(figures["breaches"]) or "the promise held"
        print(f"{name}: {figures['executions']:,} executions in {figures['seconds']:,.0f} s: {told}", flush=True)
        broken = broken or bool(figures["breaches"])
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
