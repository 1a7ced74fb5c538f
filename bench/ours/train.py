"""Tenfold's own engine on a prepared job: python -m bench.ours.train JOB_FOLDER RESULT.json."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import torch

import tenfold
from bench.gpu_memory import gpu_memory
from bench.notes import Notes
from tenfold.engine.checkpoint import CheckpointFolder
from tenfold.engine.fit import fit
from tenfold.engine.log import Log
from tenfold.engine.runtime import open_runtime
from tenfold.recipe import Recipe
from tenfold.techniques.context import Run
from tenfold.techniques.world import open_world


class Watch(Notes):
    """Notes each update that a run tells of."""

    def hear(self, event: Mapping[str, object]) -> None:
        """Take note of an update."""
        if event["event"] == "update":
            self.note(float(str(event["loss"])), int(str(event["tokens"])))


def open_run(recipe: Recipe, folder: Path, watch: Watch) -> Run:
    """Return the run of `recipe`, as `tenfold run` opens it, without scoring."""
    runtime = open_runtime(recipe.runtime)
    return Run(open_world(recipe), folder=folder, runtime=runtime, log=Log(folder / "log.jsonl", (watch,)))


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    watch = Watch()
    with tempfile.TemporaryDirectory() as scratch:
        run = open_run(Recipe(**job["recipe"]), Path(scratch), watch)
        stage = run.stage("bench")
        stage = run.attach(stage)
        checkpoints = CheckpointFolder(Path(scratch) / "checkpoints", keep=1)
        # as `tenfold run` does, but with no checkpoint inside the measured updates: the peer writes none either
        fit(run.model, stage, log=run.log, checkpoints=checkpoints, checkpoint_every=10**9)
    versions = {"tenfold": tenfold.__version__, **{name: version(name) for name in ("torch", "transformers", "peft")}}
    settings = {"precision": run.runtime.precision, "route": str(run.model.route), "threads": torch.get_num_threads()}
    facts = {"ends": watch.ends, "cpu_ends": watch.cpu_ends, "losses": watch.losses, "tokens": watch.tokens}
    result.write_text(json.dumps({**facts, **gpu_memory(), "versions": versions, "settings": settings}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
