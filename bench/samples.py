"""The shipped samples' rows, for every row of the benchmark."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

SAMPLES = Path(__file__).parent.parent / "tenfold/samples"


def sample(name: str) -> list[dict[str, Any]]:
    """Return the rows of the shipped sample `name`, each with the `split` that it is on."""
    with gzip.open(SAMPLES / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def side(name: str, split: str) -> list[dict[str, Any]]:
    """Return the rows of the shipped sample `name` that are on one side."""
    return [row for row in sample(name) if row["split"] == split]
