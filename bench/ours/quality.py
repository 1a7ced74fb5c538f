"""Tenfold for a while on the rows of a job, by its defaults: python -m bench.ours.quality JOB_FOLDER RESULT.json."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tenfold
from bench.ours.train import Watch
from tenfold.answering import predict_rows
from tenfold.artifact import Artifact
from tenfold.recipe import parse_recipe
from tenfold.running import run

PROBED = 12
"""Updates of a run that only tells how long one takes; the first one does not count."""


def main(folder: Path, result: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    updates, watch = None, Watch()
    if job["recipe"]["tuner"] != "frozen":
        probe = Watch()
        _trained(job, folder, PROBED, probe)
        updates = max(1, int(job["seconds"] / _seconds_per_update(probe)))
    artifact = _trained(job, folder, updates, watch)
    recipe = artifact.recipe
    settings: dict[str, object] = {"technique": recipe.technique.kind, "tuner": recipe.tuner.kind}
    if updates is not None:
        optim = recipe.optim
        settings |= {
            "learning_rate": optim.learning_rate,
            "batch_size": optim.batch_size,
            "schedule": optim.schedule,
        }
    versions = {"tenfold": tenfold.__version__, **{name: version(name) for name in ("torch", "transformers")}}
    told = {"predictions": _predictions(artifact, folder), "updates": updates or 0}
    spent = {"train_seconds": updates * _seconds_per_update(watch) if updates else artifact.cost.train_seconds}
    result.write_text(json.dumps({**told, **spent, "settings": settings, "versions": versions}))


def _seconds_per_update(watch: Watch) -> float:
    return (watch.cpu_ends[-1] - watch.cpu_ends[0]) / max(1, len(watch.cpu_ends) - 1)


def _trained(job: dict[str, Any], folder: Path, updates: int | None, watch: Watch) -> Artifact:
    output = folder / "tenfold"
    shutil.rmtree(output, ignore_errors=True)
    until = {} if updates is None else {"epochs": 1000, "max_updates": updates}
    optim = {**job["recipe"].get("optim", {}), **until}
    tree = {**job["recipe"], "optim": optim, "runtime": {"seed": job["seed"]}, "output": str(output)}
    return run(parse_recipe(tree), listeners=(watch,))


def _predictions(artifact: Artifact, folder: Path) -> list[str]:
    lines = predict_rows(
        artifact.folder, prompts=[], data=str(folder / "asked.jsonl"), out=None, max_new_tokens=None, base=None
    )
    answers = [json.loads(line) for line in lines]
    return [str(answer.get("label", answer.get("response"))) for answer in answers]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
