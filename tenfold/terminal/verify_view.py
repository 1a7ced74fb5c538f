"""What `tenfold verify` shows: two lines a check as each is finished, and at the end what came of it."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from rich.text import Text

from tenfold.artifact import Artifact
from tenfold.errors import Problem, RecipeError
from tenfold.evaluation.duration import duration
from tenfold.files import write_json
from tenfold.places import is_json_with, require_free
from tenfold.recipe import Recipe, load_recipe
from tenfold.terminal.console import Console
from tenfold.terminal.model_notice import announce_model
from tenfold.verify.finding import Finding, Outcome, count
from tenfold.verify.verifying import verify_artifact, verify_recipe

INDENT, PROMISE = 9, 48
"""Columns of an outcome, and of what holds where it is a pass."""

OUTCOMES: tuple[tuple[str, Outcome], ...] = (("passed", "pass"), ("failed", "FAIL"), ("skipped", "skipped"))

STYLE = {"pass": "green", "FAIL": "bold red", "skipped": "dim"}


def show_verification(subject: Path, overrides: list[str], out: Path | None) -> bool:
    """Check the recipe or artifact at `subject`, print and write what was found; return whether nothing failed.

    Raises:
        UserError: it cannot be used as asked, or a file stands at `out` that is not an earlier verification.
    """
    console = Console()
    if subject.is_dir() and overrides:
        raise RecipeError(Problem("--set", "an artifact is as it is", remedy="give its recipe to change a setting"))
    of_run: Artifact | Recipe = Artifact.open(subject) if subject.is_dir() else load_recipe(subject, overrides)
    recipe = of_run.recipe if isinstance(of_run, Artifact) else of_run
    output = of_run.folder if isinstance(of_run, Artifact) else Path(recipe.output)
    out = out or output.with_name(f"{output.name}.verify.json")
    is_earlier = is_json_with("subject", "passed", "findings")
    require_free(out, unless=is_earlier, what="what an earlier `tenfold verify` found")
    announce_model(recipe.model)
    started = time.perf_counter()
    tell = _teller(console)
    if isinstance(of_run, Artifact):
        verification = verify_artifact(of_run, tell=tell)
    else:
        verification = verify_recipe(of_run, tell=tell)
    write_json(out, verification.to_json())
    counts = [(name, count(outcome, verification.findings)) for name, outcome in OUTCOMES]
    told = ", ".join(f"{number} {name}" for name, number in counts if number)
    console.print(Text(f"\n{told}, in {duration(time.perf_counter() - started)}", style="bold"))
    facts = verification.facts
    chosen = facts["runtime"]
    of = f"stage {facts['stage']}" if facts["stage"] else facts["technique"]
    console.print(f"{of}, {facts['tuner']}, {chosen['precision']} on {chosen['device']}", markup=False)
    console.print(f"written to {out}", soft_wrap=True, markup=False)
    return verification.is_passed


def _teller(console: Console) -> Callable[[Finding], None]:
    """Return what shows each finding; the heading comes with the first one, for there may be none."""
    heading = [Text(f"{'':<{INDENT}}{'what holds':<{PROMISE - 1}}deviation of tolerance", style="bold")]

    def tell(finding: Finding) -> None:
        while heading:
            console.print(heading.pop())
        _show(console, finding)

    return tell


def _show(console: Console, finding: Finding) -> None:
    largest = finding.largest
    figures = "" if largest is None else f"{_figure(largest.deviation):>8} of {_figure(largest.tolerance)}"
    is_skipped = finding.outcome == "skipped"
    line = Text(f"{finding.outcome:<{INDENT}}", style=STYLE[finding.outcome])
    line.append(f"{finding.promise:<{PROMISE}}{figures}".rstrip(), style="dim" if is_skipped else "")
    console.print(line)
    told = finding.reason
    if largest is not None:
        told = f"{finding.what}: {largest.name}; tolerance: {finding.reason}"
    for text in (told, finding.note):
        for row in textwrap.wrap(text, min(console.width, 80) - INDENT):
            console.print(Text(" " * INDENT + row, style="dim" if text == told else "yellow"))


def _figure(number: float) -> str:
    return str(int(number)) if number == number and abs(number) < 1e6 and number == int(number) else f"{number:.1e}"
