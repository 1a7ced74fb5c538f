"""Run the reference recipes and write docs/evidence.md: `make evidence`, or `python -m evidence.measure --only NAME`.

A run that was cut off goes on where it stopped, and one that is finished is not made again: just start it once more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evidence import findings
from evidence.experiments import EXPERIMENTS, ROOT, Experiment
from evidence.prepare import main as prepare
from tenfold.artifact import Artifact
from tenfold.errors import Problem, RunFailure
from tenfold.files import write_atomic
from tenfold.teaching.serving import read_timings
from tenfold.techniques.technique import Evidence, find_technique

COST = (
    "train_seconds",
    "comparison_seconds",
    "evaluation_seconds",
    "peak_memory_bytes",
    "trainable_parameters",
    "total_parameters",
    "bytes_on_disk",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for, keep its figures under evidence/results/, write the page; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m evidence.measure", description=__doc__)
    parser.add_argument("--only", choices=EXPERIMENTS, help="this technique alone")
    parser.add_argument("--judge-again", action="store_true", help="only judge the claims of the runs that are there")
    parser.add_argument("--write-docs", action="store_true", help="only write docs/evidence.md from the figures kept")
    options = parser.parse_args(arguments)
    failed = False
    if options.judge_again:
        judge_again()
    elif not options.write_docs:
        for experiment, seed in in_order([EXPERIMENTS[options.only]] if options.only else list(EXPERIMENTS.values())):
            try:
                measure(experiment, seed)
            except RunFailure as failure:
                print(failure, file=sys.stderr)
                failed = True
            write_page()
    write_page()
    return int(failed)


def in_order(experiments: Sequence[Experiment]) -> list[tuple[Experiment, int]]:
    """Return every run: first each technique once, then with its second seed, and so on."""
    runs = [(rank, experiment, seed) for experiment in experiments for rank, seed in enumerate(experiment.seeds)]
    return [(experiment, seed) for _, experiment, seed in sorted(runs, key=lambda run: run[0])]


def measure(experiment: Experiment, seed: int) -> None:
    """Run `experiment` with `seed` and keep what came out, beside what is kept of its other seeds.

    Raises:
        RunFailure: its rows or its model cannot be made, or the run failed.
    """
    if experiment.pieces and prepare(experiment.pieces) != 0:
        raise RunFailure(Problem(experiment.technique, f"cannot make {', '.join(experiment.pieces)}"))
    for recipe in experiment.needs:
        _tenfold(["tenfold", "run", recipe])
    command = experiment.command(seed)
    print(f"\n{experiment.technique}, seed {seed}: {' '.join(command)}", flush=True)
    load_before, started = os.getloadavg()[0], time.time()
    _tenfold(command)
    artifact = Artifact.open(ROOT / experiment.output(seed))
    if (artifact.folder / "artifact.json").stat().st_mtime < started and findings.kept(
        experiment.technique, seed
    ) is not None:
        return  # finished earlier, and kept then with the load of that time
    about = {"seed": seed, "command": command, **_when(artifact, load_before)}
    findings.keep(experiment.technique, about | outcome(artifact))


def outcome(artifact: Artifact) -> dict[str, Any]:
    """Return the claims of a run, and what it cost."""
    cost = vars(artifact.cost)
    return {"claims": artifact.claims, "cost": {name: cost[name] for name in COST}}


def judged(artifact: Artifact) -> list[dict[str, str]]:
    """Return the claims of a run, judged on what it kept by the code as it is now."""
    unasked = "not measured: "
    told = next((each["because"] for each in artifact.claims if each["because"].startswith(unasked)), "")
    evidence = Evidence(
        artifact.scorecard,
        artifact.cost,
        artifact.lineage,
        artifact.facts["reported"],
        read_timings(artifact.folder),
        told.removeprefix(unasked),
    )
    claims = find_technique(artifact.facts["technique"]).claims
    return [{"claim": claim.text, "source": claim.source, **vars(claim.verdict(evidence))} for claim in claims]


def judge_again() -> None:
    """Judge the claims of every run that is there once more, without running anything: after claims were changed."""
    for experiment, seed in in_order(list(EXPERIMENTS.values())):
        kept = findings.kept(experiment.technique, seed)
        if kept is not None and (ROOT / experiment.output(seed) / "artifact.json").is_file():
            artifact = Artifact.open(ROOT / experiment.output(seed))
            findings.keep(experiment.technique, kept | {"claims": judged(artifact)})


def _when(artifact: Artifact, load: float) -> dict[str, Any]:
    """Return when and where `artifact` was made. A busy machine's seconds say little, so its load is kept too."""
    made = json.loads((artifact.folder / "provenance.json").read_text(encoding="utf-8"))
    finished = (artifact.folder / "artifact.json").stat().st_mtime
    return {
        "date": time.strftime("%Y-%m-%d", time.localtime(finished)),
        "load_average_at_start": round(load, 1),
        "threads": made["processor_threads"],
        "device": made["device"],
        "packages": {name: made["packages"][name] for name in ("torch", "transformers", "peft")},
        "commit": (made["git"] or {}).get("commit"),
    }


def _tenfold(command: list[str]) -> None:
    program = Path(sys.executable).parent / command[0]
    if (code := subprocess.run([program, *command[1:]], cwd=ROOT, check=False).returncode) != 0:
        raise RunFailure(Problem(" ".join(command), f"ended with exit code {code}"))


def write_page() -> None:
    """Write docs/evidence.md from what is kept under evidence/results/."""
    write_atomic(findings.PAGE, findings.page())


if __name__ == "__main__":
    sys.exit(main())
