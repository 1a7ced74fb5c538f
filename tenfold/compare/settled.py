"""What a comparison's folder keeps of its rows and its plan, and who may work there: one comparison, one command."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tenfold.compare.grid import Grid, reason, slug
from tenfold.compare.jobs import RECIPES
from tenfold.compare.planning import Allowance, Pace
from tenfold.compare.split import Drawn, Sides, draw_split, kept_split
from tenfold.errors import DataError, Problem, RecipeError, UserError
from tenfold.files import open_lock, sha256_text, write_json, writing
from tenfold.places import is_json_with, others_in
from tenfold.recipe import Recipe
from tenfold.recipe.sections import SIDES

PLAN = "plan.json"


@dataclass(frozen=True)
class Settled:
    """Which comparison it is, and the files of its rows."""

    fingerprint: str
    """The hash of grid, recipes and rows."""
    sides: Mapping[str, Mapping[str, Sides]]
    """Each task's, for all under the name "", and for each way that has more tasks."""
    lost: str = ""
    """Why the rows cannot be read any more where they came from; empty where they can."""


def settle(grid: Grid, base: Recipe, own: Mapping[str, Recipe], folder: Path) -> Settled:
    """Draw the rows of `base`, and of the further tasks of the ways' `own` recipes, and write them into `folder`.

    Where they cannot be read any more, those that this very comparison has written are taken.

    Raises:
        DataError: rows that cannot be read, or none left for a side.
        RecipeError: the folder belongs to another comparison, whose rows stay as they are.
    """
    recipes, lost = {"": base, **own}, ""
    others = {whose: tuple(base.tasks) if whose else () for whose in recipes}
    try:
        drawn = {whose: draw_split(each, but=others[whose]) for whose, each in recipes.items()}
    except DataError as error:
        kept = {whose: kept_split(each, _place(folder, whose), but=others[whose]) for whose, each in recipes.items()}
        drawn = {whose: tasks for whose, tasks in kept.items() if tasks is not None}
        if len(drawn) < len(kept) or kept_plan(folder, _fingerprint(grid, recipes, drawn)) is None:
            raise
        lost = reason(error)
    _require_unseen(drawn)
    fingerprint = _fingerprint(grid, recipes, drawn)
    kept_plan(folder, fingerprint)
    written = {
        whose: {name: each.write(_place(folder, whose) / name) for name, each in tasks.items()}
        for whose, tasks in drawn.items()
    }
    return Settled(fingerprint, written, lost)


def _require_unseen(drawn: Mapping[str, Mapping[str, Drawn]]) -> None:
    """Refuse further tasks of a way that would train on rows by which all are judged: their split is their own."""
    judges = {line for each in drawn[""].values() for side in SIDES[1:] for line in each.texts[side].splitlines()}
    for whose, tasks in drawn.items():
        for name, each in tasks.items() if whose else ():
            seen = sum(line in judges for line in each.texts["train"].splitlines())
            if seen:
                found = f"{seen:,} training rows of its task {name!r} are test or validation rows of the comparison"
                remedy = "give the rows a column `split`, or the same seed, shares and group_by as the comparison's"
                raise RecipeError(Problem(f"recipes.{whose}", found, remedy=remedy))


def _place(folder: Path, whose: str) -> Path:
    return folder / slug(f"rows {whose}".strip())


def _fingerprint(grid: Grid, recipes: Mapping[str, Recipe], drawn: Mapping[str, Mapping[str, Drawn]]) -> str:
    rows = [each.texts[side] for tasks in drawn.values() for each in tasks.values() for side in SIDES]
    settings = [each.model_dump_json(exclude={"output", "log"}) for each in recipes.values()]
    names = [name for name in recipes if name]
    return sha256_text(grid.model_dump_json(exclude={"recipe", "recipes", "slice_by"}), *names, *settings, *rows)


@dataclass(frozen=True)
class Plan:
    """What will be run: settled once, kept in the comparison's folder."""

    paces: Mapping[str, Pace]
    allowances: Mapping[str, Allowance]
    refused: Mapping[str, str]
    pruned: Mapping[str, str] | None = None
    """Which ways get one seed, and why; decided after the search, None until then."""

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
    if tree["fingerprint"] == fingerprint and all("usual_rate" in pace for pace in tree["paces"].values()):
        return Plan(
            {name: Pace(**each) for name, each in tree["paces"].items()},
            {name: Allowance(**{**each, "rates": tuple(each["rates"])}) for name, each in tree["allowances"].items()},
            tree["refused"],
            tree.get("pruned"),
        )
    if not (folder / RECIPES).exists():
        return None
    found = "it belongs to another comparison: other rows, settings, techniques or terms"
    raise RecipeError(Problem(str(folder), found, remedy="choose another folder with --out"))


def _require_own(folder: Path) -> None:
    """Refuse a folder of other files: its names, such as `report.html`, may be those that are written there."""
    if is_json_with("fingerprint", "paces")(folder / PLAN):
        return
    own = [path.name for path in folder.glob("rows*") if path.is_dir()]  # written before the plan
    own += [path.name for path in folder.glob("*.log")]  # what the shell writes beside it
    if others := others_in(folder, *own, "lost+found"):
        found = f"holds files that are not a comparison's: {others}"
        raise UserError(Problem(str(folder), found, remedy="choose another folder with --out"))


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other comparisons out of `folder` inside the block; the hold ends with the process.

    Raises:
        UserError: another process holds it, nobody may write there, or it holds files that are not a comparison's.
    """
    _require_own(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = open_lock(folder / ".lock")
    with lock:
        with suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                remedy = "wait until it has ended, or choose another folder with --out"
                raise UserError(Problem(str(folder), "another comparison is at work there", remedy=remedy)) from None
        yield
