"""What Tenfold reads of the environment: its cache, a cluster's address, whether unforeseen errors show tracebacks,
and which of several processes this is.

The cache is one folder with a room in it for each purpose; all that is in it can be made again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tenfold.files import writing

ROOMS = (
    "answers",
    "crashes",
    "data",
    "features",
    "hashes",
    "lessons",
    "models",
    "precision",
    "scores",
    "stages",
    "verify",
)
"""All that the cache's folder holds; what else lies there is not ours."""


def cache_folder(name: str) -> Path:
    """Return the cache folder for one purpose (`data`, `models` …), made if it is not there.

    Everything under it can be deleted at any time.

    Raises:
        UserError: nobody may write there.
    """
    assert name in ROOMS, "what --clear knows"
    folder = cache_root() / name
    with writing(folder, remedy="set the environment variable TENFOLD_CACHE to a folder that can be written"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def cache_root() -> Path:
    """Return `~/.cache/tenfold`, or the folder that the environment variable `TENFOLD_CACHE` names."""
    return Path(os.environ.get("TENFOLD_CACHE") or "~/.cache/tenfold").expanduser()


@contextmanager
def cache_at(folder: Path) -> Iterator[None]:
    """Let the cache be in `folder` for the block, and where it was before afterwards: for tests."""
    before = os.environ.get("TENFOLD_CACHE")
    os.environ["TENFOLD_CACHE"] = str(folder)
    try:
        yield
    finally:
        del os.environ["TENFOLD_CACHE"]
        if before is not None:
            os.environ["TENFOLD_CACHE"] = before


def ray_address() -> tuple[str, int] | None:
    """Return host and port of the Ray cluster that the environment variable `RAY_ADDRESS` names, if any.

    Raises:
        ValueError: it is set, and no address.
    """
    host, colon, port = os.environ.get("RAY_ADDRESS", "").rpartition("://")[2].rpartition(":")
    return (host, int(port)) if colon else None


def shows_tracebacks() -> bool:
    """Return whether the environment variable `TENFOLD_DEBUG` is set."""
    return bool(os.environ.get("TENFOLD_DEBUG"))


@dataclass(frozen=True)
class Launch:
    """Which of the processes this is that one `torchrun` started together."""

    rank: int
    count: int
    local_rank: int
    """Its number among those on this machine."""

    @property
    def speaks(self) -> bool:
        """Whether what all of them have to say is said by this one."""
        return self.rank == 0


def launch() -> Launch:
    """Return what `torchrun` says in `RANK`, `WORLD_SIZE` and `LOCAL_RANK`; one process alone where it says nothing."""
    rank, count, local_rank = (
        int(os.environ.get(name) or default) for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
    )
    return Launch(rank, count, local_rank)
