"""sentence-transformers' features and scikit-learn's LogisticRegression: python sklearn_quality.py JOB_FOLDER RESULT.

It needs as long as it needs: nothing trains for longer or shorter.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression


def main(folder: Path, result: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    encoder = SentenceTransformer(job["model"], device="cpu")
    encoder.max_seq_length = job["max_length"]
    encoder.encode([row["text"] for row in job["train"][:8]])
    started = time.process_time()
    features = encoder.encode([row["text"] for row in job["train"]])
    classifier = LogisticRegression(random_state=job["seed"]).fit(features, [row["label"] for row in job["train"]])
    seconds = time.process_time() - started
    predictions = [str(label) for label in classifier.predict(encoder.encode([row["text"] for row in job["test"]]))]
    versions = {name: version(name) for name in ("sentence-transformers", "scikit-learn", "transformers", "torch")}
    told = {"predictions": predictions, "updates": 0, "train_seconds": seconds}
    result.write_text(json.dumps({**told, "settings": {"estimator": "LogisticRegression()"}, "versions": versions}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
