"""sentence-transformers on a prepared job: python sentence_transformers_encode.py JOB_FOLDER RESULT.json.

Run with an interpreter that has it; nothing of Tenfold is imported. Its `encode` sorts rows by length and pads each
batch to its longest row.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer


def main(job_folder: Path, result: Path) -> None:
    job = json.loads((job_folder / "job.json").read_text())
    texts = [json.loads(line)["text"] for line in (job_folder / "rows.jsonl").read_text().splitlines()]
    model = SentenceTransformer(job["model"], device="cpu", model_kwargs={"dtype": getattr(torch, job["dtype"])})
    model.max_seq_length = job["max_length"]
    model.encode(texts[: job["warm_up"]], batch_size=job["batch_size"])
    started, busy = time.perf_counter(), time.process_time()
    found = model.encode(texts, batch_size=job["batch_size"])
    seconds, busy = time.perf_counter() - started, time.process_time() - busy
    np.save(result.with_suffix(".npy"), np.asarray(found, dtype=np.float32))
    versions = {name: version(name) for name in ("sentence-transformers", "torch", "transformers")}
    settings = {"dtype": job["dtype"], "batch_size": job["batch_size"], "threads": torch.get_num_threads()}
    facts = {"seconds": seconds, "cpu_seconds": busy, "settings": settings, "versions": versions}
    result.write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
