"""The page: which sections there are, and the template that lays them out."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tenfold import __version__
from tenfold.compare.comparison import Comparison, by_reason
from tenfold.compare.ranking import Standing
from tenfold.compare.report.curves import courses, efficiencies
from tenfold.compare.report.figures import shown
from tenfold.compare.report.leaderboard import leaderboard, retention_boards
from tenfold.compare.report.slices import by_class, by_slice, by_task, confusions
from tenfold.compare.report.spending import spending
from tenfold.compare.report.subjects import subjects_of
from tenfold.compare.report.svg import colour
from tenfold.compare.report.told import answers, claims, missing, origins
from tenfold.compare.verdict import listed, plain, standings_of, verdict
from tenfold.files import write_atomic

FOLDER = Path(__file__).parent

MARK = b'<meta name="generator" content="tenfold">'
"""Stands near the beginning of every page."""


def write_report(comparison: Comparison, path: Path, *, standings: Sequence[Standing] | None = None) -> None:
    """Write the comparison to `path` as one HTML file that loads nothing; its one script sorts tables.

    Text of rows, answers, names and errors is escaped, in drawings too. Without `standings` they are made here.

    Raises:
        ArtifactError: a file of a run is missing or damaged; nothing was written.
        UserError: nobody may write at `path`.
    """
    page = report(comparison, standings_of(comparison) if standings is None else standings)
    # a lone half of a character, which JSON may hold, is no UTF-8
    write_atomic(path, page.encode("utf-8", "replace"))


def is_report(path: Path) -> bool:
    """Return whether the file at `path` is a page that `write_report` has written."""
    try:
        with path.open("rb") as file:
            return MARK in file.read(1000)
    except OSError:
        return False


def report(comparison: Comparison, standings: Sequence[Standing]) -> str:
    """Return the page."""
    subjects = subjects_of(comparison, standings)
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    environment.filters["listed"] = listed
    environment.filters["shown"] = shown
    script = (FOLDER / "sort.js").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(
        comparison=comparison,
        script=script,
        # the browser runs this text and no other, whatever else may stand in the page
        script_hash=b64encode(sha256(script.encode()).digest()).decode(),
        style=(FOLDER / "style.css").read_text(encoding="utf-8"),
        written=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
        colour=colour,
        subjects=subjects,
        sentences=[shown(sentence, limit=2000) for sentence in verdict(comparison, standings)],
        board=leaderboard(subjects) if subjects else None,
        spending=spending(subjects) if subjects else None,
        retention=retention_boards(subjects),
        courses=courses(subjects),
        efficiencies=efficiencies(subjects),
        claims=claims(subjects),
        by_task=by_task(subjects),
        by_slice=by_slice(comparison, subjects),
        by_class=by_class(subjects),
        confusions=list(confusions(subjects)),
        answers=answers(subjects),
        missing=missing(comparison),
        refused=by_reason(comparison.refused),
        origins=origins(comparison),
    )
