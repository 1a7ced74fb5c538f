"""docs/reliability.md, written from the results of reliability/ and fuzz/ alone: it says what was measured, no more."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fuzz import page as fuzz
from reliability.crash import figures as crash
from reliability.planted import figures as planted
from reliability.soak import figures as soak

SECTIONS: Mapping[str, Callable[[dict[str, Any]], str]] = {
    "crash": crash.section,
    "planted": planted.section,
    "soak": soak.section,
}
"""What writes the section of each kind of result, in the page's order."""

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "reliability/results"
PAGE = ROOT / "docs/reliability.md"

HEAD = """# Reliability

<!-- Written by `python -m reliability page` from the results in reliability/ and fuzz/: change those, not this. -->

What Tenfold was put through on purpose, and what came of it. Each section is one campaign, too long for the test suite;
a short form of it runs there.
"""


def page() -> str:
    """Return the whole page."""
    results = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    results.sort(key=lambda result: list(SECTIONS).index(result["kind"]))
    own = [SECTIONS[result["kind"]](result) for result in results]
    return "\n".join([HEAD, *own, fuzz.section(fuzz.results())])
