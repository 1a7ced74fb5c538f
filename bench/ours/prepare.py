"""Rows from a file to an epoch of batches, as `tenfold run` prepares them: python -m bench.ours.prepare JOB RESULT."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import tenfold
from bench.peak import OwnMemory
from tenfold.data.prepare import prepare
from tenfold.data.render import Renderer
from tenfold.data.sources import open_rows
from tenfold.data.windows import MICRO_BATCH_TOKENS, Windows
from tenfold.models.load import load_tokenizer
from tenfold.paths import cache_at
from tenfold.recipe import DataSection


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    tokenizer = load_tokenizer(Path(job["model"]), trust_remote_code=False)
    with tempfile.TemporaryDirectory(dir=job_folder) as scratch, cache_at(Path(scratch)), OwnMemory() as memory:
        clocks = [now()]
        renderer = Renderer(tokenizer, DataSection(train=job["tenfold_rows"], max_length=job["max_length"]))
        prepared = prepare(open_rows(job["tenfold_rows"]), renderer)
        clocks.append(now())
        windows = Windows(prepared, job["batch_size"], MICRO_BATCH_TOKENS, seed=0)
        tokens = supervised = 0
        for update in range(windows.updates_per_epoch):
            for batch in windows.window(update).batches:
                tokens += len(batch.input_ids)
                supervised += batch.num_supervised
        clocks.append(now())
    settings = {"batch_size": windows.batch_size, "micro_batch_tokens": MICRO_BATCH_TOKENS}
    names = ("datasets", "tokenizers", "transformers", "torch")
    versions = {"tenfold": tenfold.__version__, **{name: version(name) for name in names}}
    facts = {"clocks": clocks, "tokens": tokens, "supervised": supervised, "own_bytes": memory.peak_bytes}
    result.write_text(json.dumps({**facts, "settings": settings, "versions": versions}))


def now() -> tuple[float, float]:
    """Return the time of the wall and of the processor."""
    return time.perf_counter(), time.process_time()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
