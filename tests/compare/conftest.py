"""Rows with labels, which every technique that learns one task can be compared on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture
def labels_file(tmp_path: Path) -> Path:
    path = tmp_path / "labels.jsonl"
    words = ("lamp", "door", "fan")
    rows = [{"text": f"{words[n % 3]} number {n}", "label": words[n % 3]} for n in range(90)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
