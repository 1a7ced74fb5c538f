"""docs/reliability.md, written from reliability/results/*.json so that the page never says what was not measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reliability.crash import figures as crash

SECTIONS: Mapping[str, Callable[[dict[str, Any]], str]] = {"crash": crash.section}
"""What writes the section of each kind of result, in the page's order."""

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "reliability/results"
PAGE = ROOT / "docs/reliability.md"

HEAD = """# Reliability

<!-- Written by `python -m reliability page` from reliability/results/*.json: change reliability/, not this page. -->

What Tenfold was put through on purpose, and what came of it. Each section is one campaign, too long for the test suite;
a short form of it runs there.
"""


def page() -> str:
    """Return the whole page."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    results.sort(key=lambda result: list(SECTIONS).index(result["kind"]))
    return "\n".join([HEAD, *(SECTIONS[result["kind"]](result) for result in results)])
