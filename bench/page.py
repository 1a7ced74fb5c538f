"""docs/performance.md, written from bench/results/*.json so that the page never says what was not measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench/results"
PAGE = ROOT / "docs/performance.md"


def page() -> str:
    """Return the whole page."""
    return "todo"
