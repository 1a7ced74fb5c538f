"""Where Tenfold keeps what it can make again: one cache folder, with a room in it for each purpose."""

from __future__ import annotations

import os
from pathlib import Path

from tenfold.files import writing


def cache_folder(name: str) -> Path:
    """Return the cache folder for one purpose (`data`, `models` …), made if it is not there.

    Everything under it can be deleted at any time.

    Raises:
        UserError: nobody may write there.
    """
    folder = cache_root() / name
    with writing(folder, remedy="set the environment variable TENFOLD_CACHE to a folder that can be written"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def cache_root() -> Path:
    """Return `~/.cache/tenfold`, or the folder that the environment variable `TENFOLD_CACHE` names."""
    return Path(os.environ.get("TENFOLD_CACHE") or "~/.cache/tenfold").expanduser()
