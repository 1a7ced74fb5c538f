"""Features as `tenfold run` reads them, on a prepared job: python -m bench.ours.encode JOB_FOLDER RESULT.json."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

import tenfold
from bench.ours.train import Watch, open_run
from tenfold.data.prepare import prepare
from tenfold.data.sources import open_rows
from tenfold.features.views import View, settled
from tenfold.paths import cache_at
from tenfold.recipe import Recipe
from tenfold.techniques.feature_based_plan import extraction_of


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    with tempfile.TemporaryDirectory() as scratch, cache_at(Path(scratch)):
        run = open_run(Recipe(**job["recipe"]), Path(scratch), Watch())
        (task,) = run.tasks
        (view,) = settled([View((-1,), "mean")], run.model.num_layers)

        def encode(path: Path) -> np.ndarray:
            prepared = prepare(open_rows(str(path)), task.kind.renderer)
            return extraction_of(run).of(prepared, view.parts).matrix(view)

        encode(job_folder / "warm_up.jsonl")
        started, busy = time.perf_counter(), time.process_time()
        found = encode(job_folder / "rows.jsonl")
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
    np.save(result.with_suffix(".npy"), found)
    versions = {"tenfold": tenfold.__version__, **{name: version(name) for name in ("torch", "transformers")}}
    settings = {"precision": run.runtime.precision, "route": str(run.model.route), "threads": torch.get_num_threads()}
    facts = {"seconds": seconds, "cpu_seconds": busy, "settings": settings, "versions": versions}
    result.write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
