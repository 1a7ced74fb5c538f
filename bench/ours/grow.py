"""A few updates of a recipe, rows prepared anew: python -m bench.ours.grow JOB_FOLDER RESULT.json."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from bench.ours.train import Watch, open_run
from bench.peak import OwnMemory
from tenfold.engine.checkpoint import CheckpointFolder
from tenfold.engine.fit import fit
from tenfold.paths import cache_at
from tenfold.recipe import Recipe


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    watch = Watch()
    with tempfile.TemporaryDirectory(dir=job_folder) as scratch, cache_at(Path(scratch)), OwnMemory() as memory:
        started = time.process_time()
        run = open_run(Recipe(**job["recipe"]), Path(scratch) / "run", watch)
        opened = time.process_time() - started
        stage = run.attach(run.stage("bench"))
        parameters = sum(parameter.numel() for parameter in run.model.base.parameters())
        checkpoints = CheckpointFolder(Path(scratch) / "checkpoints", keep=1)
        fit(run.model, stage, log=run.log, checkpoints=checkpoints, checkpoint_every=10**9)
    facts = {
        "opened_cpu_seconds": opened,
        "cpu_ends": watch.cpu_ends,
        "tokens": watch.tokens,
        "parameters": parameters,
        "own_bytes": memory.peak_bytes,
    }
    result.write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
