"""A student that learns from the teacher's lessons on disk: python -m bench.ours.distil JOB_FOLDER RESULT.json.

The clock runs from the teacher's first row, with both models loaded, so the teacher's reading counts.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch

import tenfold
from bench.ours.lessons import lessons_of, stored
from bench.ours.train import Watch, open_run
from tenfold.engine.checkpoint import CheckpointFolder
from tenfold.engine.fit import fit
from tenfold.models.save import save_model
from tenfold.paths import cache_at
from tenfold.recipe import Recipe


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    watch = Watch()
    with tempfile.TemporaryDirectory(dir=job_folder) as scratch, cache_at(Path(scratch)):
        recipe = Recipe(**job["recipe"])
        run = open_run(recipe, Path(scratch), watch)
        run.attach(run.stage("bench"))
        lessons = lessons_of(run, job["recipe"])
        lessons.teacher.writer()
        start = time.perf_counter(), time.process_time()
        stage = lessons.stage(run)
        lessons.release()
        taught = time.perf_counter(), time.process_time()
        checkpoints = CheckpointFolder(Path(scratch) / "checkpoints", keep=1)
        # as `tenfold run` does, but with no checkpoint inside the measured updates: the peer writes none either
        fit(run.model, run.attach(stage), log=run.log, checkpoints=checkpoints, checkpoint_every=10**9)
        kept = stored(stage.objective)
    save_model(run.model.base, job_folder / "tenfold-student")
    versions = {"tenfold": tenfold.__version__, **{name: version(name) for name in ("torch", "transformers")}}
    settings = {
        "precision": run.runtime.precision,
        "route": str(run.model.route),
        "top_k": lessons.options.top_k,
        "alpha": lessons.options.alpha,
        "threads": torch.get_num_threads(),
    }
    facts = {"start": start, "taught": taught, "ends": watch.ends, "cpu_ends": watch.cpu_ends, "losses": watch.losses}
    facts |= {"tokens": watch.tokens, "stored": kept}
    result.write_text(json.dumps({**facts, "versions": versions, "settings": settings}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
