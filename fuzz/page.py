"""What a target's figures say, as a part of a page."""

from __future__ import annotations

from typing import Any


def section(result: dict[str, Any]) -> str:
    """Return the target's part of the page."""
    found = "; ".join(result["breaches"]) or "the promise held"
    return f"""## Hostile input: {result["about"]} (`{result["name"]}`)

**{result["executions"]:,}** inputs made by a coverage-guided fuzzer (atheris {result["versions"]["atheris"]}) from
{result["seeds"]} hand-made ones, {result["corpus"]:,} of them kept because they reached new code, in
{result["seconds"]:,.0f} s: {found}. {result["date"]}, {result["machine"]["processor"]}.
"""
