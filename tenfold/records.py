"""How the small files of an artifact are read, which may have come from anywhere: strictly, or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from tenfold.errors import ArtifactError, Problem, shown
from tenfold.recipe.choices import TASK_NAME

FOLDERS = ("adapter", "model", "heads", "estimators")
"""Where in it the weights may lie."""


def read_text(path: Path) -> str:
    """Return the file's text; raises `ArtifactError`."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise damaged(path, "missing") from None
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, f"cannot be read: {error}") from None


def parsed(path: Path, text: str) -> object:
    """Return the value of JSON that was read from `path`; raises `ArtifactError`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"not JSON: {error}") from None


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """Return the file's JSON object, which has all `keys`; raises `ArtifactError`."""
    value = parsed(path, read_text(path))
    if not isinstance(value, dict):
        raise damaged(path, f"a {type(value).__name__}, not a JSON object")
    missing = [key for key in keys if key not in value]
    if missing:
        raise damaged(path, f"damaged: no {', '.join(missing)}")
    return value


def require_sound(path: Path, facts: Mapping[str, Any]) -> None:
    """Refuse facts that would lead out of the artifact's folder, or that nobody could follow."""
    if facts["weights"] not in FOLDERS:
        raise damaged(path, f"damaged: weights {shown(facts['weights'])} are none of {', '.join(FOLDERS)}")
    tasks = facts["tasks"]
    named = isinstance(tasks, dict) and all(
        re.fullmatch(TASK_NAME, name) and isinstance(tasks[name], dict) for name in tasks
    )
    if not named or not tasks or not isinstance(facts["reported"], dict):
        raise damaged(path, "damaged: its tasks are not tasks by name")
    hashes = facts.get("sha256", {})
    if not isinstance(hashes, dict) or not all(isinstance(value, str) for value in hashes.values()):
        raise damaged(path, "damaged: its hashes are not hashes by file")
    if outside := [
        name for name in hashes if "\0" in name or PurePath(name).is_absolute() or ".." in PurePath(name).parts
    ]:
        raise damaged(path, f"damaged: {shown(outside[0])} is no file of this folder")


def checked_rows(path: Path, rows: object, keys: Sequence[str]) -> list[dict[str, str]]:
    """Return `rows`, once each is known to have all `keys`; raises `ArtifactError`."""
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row.keys() >= set(keys) for row in rows):
        raise damaged(path, f"damaged: not rows with {', '.join(keys)}")
    return rows


def damaged(path: Path, found: str, *, run: Path | None = None) -> ArtifactError:
    """Return what to say of a file of the folder `run`; where that is unset, the file lies in it directly."""
    remedy = f"remove {run or path.parent} and run its recipe again: finished stages come from the store"
    return ArtifactError(Problem(str(path), found, remedy=remedy))
