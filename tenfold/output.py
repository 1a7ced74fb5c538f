"""Whose output folder it is: one process at a time works in it, for one recipe."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.artifact import Artifact
from tenfold.errors import ArtifactError, Problem
from tenfold.files import clear_unfinished, open_lock, write_json, writing
from tenfold.places import others_in, require_folder
from tenfold.recipe import FREE_TO_CHANGE, Recipe
from tenfold.records import read_json


@dataclass(frozen=True)
class Output:
    """An output folder that this process owns, and the finished artifact in it, if there is one."""

    folder: Path
    finished: Artifact | None
    machine: Mapping[str, Any]
    """What the run measured and chose when it began: going on with another choice would not be the same run."""

    def begin(
        self, fingerprint: str, recipe: Recipe, *, parts: Mapping[str, str], machine: Mapping[str, object]
    ) -> None:
        """Note whose folder this is, before anything else is written."""
        requested = recipe.model_dump(mode="json")
        note = {"fingerprint": fingerprint, "requested": requested, "parts": parts, "machine": machine}
        write_json(self.folder / "run.json", note)


@contextmanager
def claim_output(recipe: Recipe, fingerprint: str, *, parts: Mapping[str, str]) -> Iterator[Output]:
    """Yield the recipe's output folder, locked for this process; the lock dies with it.

    Raises:
        ArtifactError: another process works in it, it belongs to a different recipe, holds other files, or an artifact
            of which a file has changed since it was saved.
        UserError: nobody may write there.
    """
    folder = Path(recipe.output)
    begun = check_output(recipe, fingerprint, parts=parts)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = open_lock(folder / ".lock")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArtifactError(
                Problem("output", f"another process is working in {folder}", remedy="wait for it, or set `output`")
            ) from None
        begun = check_output(recipe, fingerprint, parts=parts)  # again: another process may have begun a run meanwhile
        finished = _finished(folder)
        if finished is not None:  # and killed before the rest was done
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        clear_unfinished(folder)
        yield Output(folder, finished=finished, machine=begun.get("machine", {}))


def _finished(folder: Path) -> Artifact | None:
    if not (folder / "artifact.json").is_file():
        return None
    artifact = Artifact.open(folder)
    artifact.require_saved()
    return artifact


def check_output(recipe: Recipe, fingerprint: str, *, parts: Mapping[str, str]) -> dict[str, Any]:
    """Return what `run.json` in the recipe's output folder says, or nothing for a new folder; writes nothing.

    `parts` are the hashes of the files that the recipe names, each under what a message calls it.

    Raises:
        ArtifactError: the folder is another recipe's, or holds other files.
        UserError: nobody can write there.
    """
    folder = Path(recipe.output)
    require_folder(folder)
    if (folder / "run.json").is_file():
        begun = read_json(folder / "run.json", "fingerprint", "requested", "machine")
        if begun["fingerprint"] != fingerprint:
            raise ArtifactError(_belongs_elsewhere(folder, begun, recipe, parts))
        return begun
    others = others_in(folder)
    if others:
        found = f"{folder} holds files that are not a run's: {others}"
        allowed = "a new folder, or the folder of this recipe's own run"
        raise ArtifactError(Problem("output", found, allowed, remedy="set another `output`"))
    return {}


def _belongs_elsewhere(folder: Path, begun: Mapping[str, Any], recipe: Recipe, parts: Mapping[str, str]) -> Problem:
    mine = recipe.model_dump(mode="json")
    changed = [
        f"{section}.{key}: {json.dumps(theirs)} there, {json.dumps(mine[section].get(key))} here"
        for section, values in begun["requested"].items()
        if isinstance(values, dict) and section not in ("log",)
        for key, theirs in values.items()
        if mine[section].get(key) != theirs and not (section == "runtime" and key in FREE_TO_CHANGE)
    ]
    before = begun.get("parts", {})
    others = [name for name in {**before, **parts} if before.get(name) != parts.get(name)]
    same = "the same settings and files, read by another version of Tenfold or of its libraries"
    if others:
        same = f"the same settings, but these have changed since: {', '.join(others)}"
    why = "; ".join(changed[:5]) or same
    return Problem(
        "output",
        f"{folder} belongs to a different recipe: {why}",
        remedy="add --set output=runs/ANOTHER-NAME, or remove that folder if you no longer need it",
    )
