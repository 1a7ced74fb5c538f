"""What a comparison's folder keeps of its plan, and who may work there: one comparison, one command at a time."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tenfold.compare.jobs import RECIPES
from tenfold.compare.planning import Allowance, Pace
from tenfold.errors import Problem, RecipeError, UserError
from tenfold.files import write_json, writing

PLAN = "plan.json"


@dataclass(frozen=True)
class Plan:
    """What will be run: settled once, kept in the comparison's folder."""

    paces: Mapping[str, Pace]
    allowances: Mapping[str, Allowance]
    refused: Mapping[str, str]

    @property
    def expected_seconds(self) -> float:
        """What all of it is expected to take."""
        return sum(each.expected_seconds for each in self.allowances.values())


def keep_plan(plan: Plan, folder: Path, fingerprint: str) -> None:
    """Write `plan`, which holds for the grid, recipe and rows of that fingerprint."""
    write_json(folder / PLAN, {"fingerprint": fingerprint, **asdict(plan)})


def kept_plan(folder: Path, fingerprint: str) -> Plan | None:
    """Return the plan that `folder` keeps; None where there is none, or another one of which nothing was begun.

    Raises:
        RecipeError: the folder belongs to another comparison, whose runs were begun.
    """
    path = folder / PLAN
    if not path.is_file():
        return None
    tree = json.loads(path.read_text(encoding="utf-8"))
    if tree["fingerprint"] == fingerprint:
        return Plan(
            {name: Pace(**each) for name, each in tree["paces"].items()},
            {name: Allowance(**{**each, "rates": tuple(each["rates"])}) for name, each in tree["allowances"].items()},
            tree["refused"],
        )
    if not (folder / RECIPES).exists():
        return None
    found = "it belongs to another comparison: other rows, settings, techniques or terms"
    raise RecipeError(Problem(str(folder), found, remedy="choose another folder with --out"))


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other comparisons out of `folder` inside the block; the hold ends with the process.

    Raises:
        UserError: another process holds it, or nobody may write there.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    with lock:
        with suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                remedy = "wait until it has ended, or choose another folder with --out"
                raise UserError(Problem(str(folder), "another comparison is at work there", remedy=remedy)) from None
        yield
