"""Where may be written, looked at before any work begins: nothing is lost but what the same command wrote earlier."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from tenfold.errors import Problem, UserError

OWN_AT_MOST = 1 << 24
"""Bytes of a file that could be one of our small ones: a larger one is not read to find out."""


def require_folder(folder: Path) -> None:
    """Check that `folder` can be written in, or could be made; writes nothing.

    Raises:
        UserError: it cannot: a file is in the way, or nobody may write there.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UserError(Problem(str(folder), f"{there} is a file", allowed="a folder", remedy="choose another place"))
    if not os.access(there, os.W_OK):
        raise UserError(Problem(str(folder), f"no permission to write in {there}", remedy="choose another place"))


def require_free(
    path: Path,
    *,
    option: str = "--out",
    unless: Callable[[Path], bool] = lambda path: False,
    what: str = "",
    again: str = "",
) -> None:
    """Check, before any work begins, that a file or folder can be made at `path` and that nothing is lost by it.

    A file that stands there may be replaced where it is empty, or `unless` says that it is one of `what` an earlier
    command wrote.

    Raises:
        UserError: something else stands there, or its folder cannot be written in.
    """
    require_folder(path.parent)
    if not os.path.lexists(path) or (what and path.is_file() and (path.stat().st_size == 0 or unless(path))):
        return
    found = f"exists already, and is not {what}" if what else "exists already"
    remedy = f"choose another name with {option}" + (f", or {again}" if again else "")
    raise UserError(Problem(str(path), found, remedy=remedy))


def is_json_with(*keys: str) -> Callable[[Path], bool]:
    """Return a function that says whether a file holds one JSON object that has all `keys`."""

    def is_one(path: Path) -> bool:
        try:
            if path.stat().st_size > OWN_AT_MOST:
                return False
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(value, dict) and value.keys() >= set(keys)

    return is_one


def others_in(folder: Path, *own: str) -> str:
    """Return the first five names in `folder` but hidden ones and those of `own`, for messages; "" if there is none."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    return ", ".join([name for name in names if not name.startswith(".") and name not in own][:5])
