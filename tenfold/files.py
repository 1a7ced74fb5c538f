"""How files are written so that a crash never leaves half of one: temporary name, fsync, rename."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tenfold.errors import DiskFull, Problem, TenfoldError, UserError


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` when the block ends well, and vanishes when it does not.

    If `folder` came to exist meanwhile (another process won), that one is kept.

    Raises:
        DiskFull: no space is left on the device.
        UserError: nobody may write there.
    """
    partial = folder.parent / f".{folder.name}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    with writing(folder):
        partial.mkdir(parents=True)
    try:
        with writing(folder):
            yield partial
            for path in sorted(partial.rglob("*")):
                if path.is_file():
                    _sync(path)
            if not folder.exists():
                os.replace(partial, folder)
                _sync(folder.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let of several processes only one at a time into the block that makes `folder`; the others wait for it.

    Who comes in looks again whether it is there by now. The lock dies with its holder.
    """
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f".{folder.name}.lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` so that it holds the old content or the new one, never a part.

    Raises:
        DiskFull: no space is left on the device.
        UserError: nobody may write there.
    """
    partial = path.parent / f".{path.name}.{os.getpid()}.partial"
    data = content.encode() if isinstance(content, str) else content
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
            _sync(path.parent)
    finally:
        with suppress(OSError):
            partial.unlink()


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write `lines` to `path`, atomically and without holding them all; each gets a line feed.

    Raises:
        DiskFull: no space is left on the device.
        UserError: nobody may write there.
    """
    partial = path.parent / f".{path.name}.{os.getpid()}.partial"
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(f"{line}\n" for line in lines)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
            _sync(path.parent)
    finally:
        with suppress(OSError):
            partial.unlink()


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def writing(place: Path, *, remedy: str = "") -> Iterator[None]:
    """Say where the system refused to write inside the block, and what to do.

    Raises:
        DiskFull: no space is left on the device.
        UserError: nobody may write there, or a file stands where a folder is needed.
    """
    try:
        yield
    except TenfoldError:
        raise
    except Exception as error:
        # safetensors wraps the system's error in its own type and keeps only the text
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            again = "free some space there and run the same command again: what was finished is kept"
            raise DiskFull(Problem(str(place), "no space left on the device", remedy=remedy or again)) from error
        if isinstance(error, OSError) and _is_refusal(error, place):
            reason = (error.strerror or str(error)).lower()
            raise UserError(
                Problem(str(place), f"cannot be written: {reason}", remedy=remedy or "choose another place")
            ) from error
        raise


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


_REFUSALS = frozenset(
    {errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM, errno.EROFS}
)
"""What the system answers where the user has to name another place or to mend who may write."""


def _is_refusal(error: OSError, place: Path) -> bool:
    """Whether the system said no to `place` itself; in /proc it says so by missing the folder that is to be made."""
    if error.errno != errno.ENOENT or error.filename is None:
        return error.errno in _REFUSALS
    missing = Path(os.fsdecode(error.filename))
    return place.is_relative_to(missing) or missing.parent in (place, place.parent)


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of the file's content, read in pieces."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def sha256_text(*parts: str) -> str:
    """Return the SHA-256 of texts; where one ends and the next begins is part of it."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(f"{len(data)}:".encode())
        digest.update(data)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
