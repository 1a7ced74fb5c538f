"""How files are written so that a crash never leaves half of one: under a locked name beside it, fsync, rename."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal

from tenfold.errors import DiskFull, Problem, TenfoldError, UserError


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes `folder` when the block ends well, and vanishes when it does not.

    If `folder` came to exist meanwhile (another process won), that one is kept.

    Raises:
        DiskFull: no space is left on the device.
        UserError: nobody may write there.
    """
    with unfinished(folder) as partial:
        yield partial
        for path in sorted(partial.rglob("*")):
            if path.is_file():
                _sync(path)
        if not folder.exists():
            os.replace(partial, folder)
            _sync(folder.parent)


@contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target` to make it in, locked; what is left of it is removed at the end.

    The lock dies with its holder, so one that nobody holds is known to be of a killed process: before this one is made,
    those are removed.

    Raises:
        DiskFull: no space is left on the device.
        UserError: nobody may write there.
    """
    with writing(target), _begun(target, _new_folder) as (partial, _):
        yield partial


def clear_unfinished(parent: Path) -> None:
    """Remove from the folder `parent` what killed processes have begun there."""
    with os.scandir(parent) as entries:
        begun = [Path(entry.path) for entry in entries if is_unfinished(entry.name)]
    for path in begun:
        with suppress(OSError):  # somebody is at work there, or clears it too
            lock = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)
            finally:
                os.close(lock)


def is_unfinished(name: str) -> bool:
    """Whether a file or folder of that name is one that was begun here and may be of a killed process."""
    return name.startswith(".") and name.endswith(".partial")


@contextmanager
def _begun(target: Path, make: Callable[[Path], int]) -> Iterator[tuple[Path, int]]:
    """Yield what `make` makes beside `target`, and its descriptor, which holds a lock; remove what is left of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    clear_unfinished(target.parent)
    while True:
        partial = target.parent / f".{target.name}.{secrets.token_hex(4)}.partial"
        descriptor = make(partial)
        try:
            with suppress(OSError):  # a file system without locks: there nobody clears
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if partial.exists():  # else another process cleared it before it was locked
                yield partial, descriptor
                return
        finally:
            os.close(descriptor)
            _remove(partial)


def _new_folder(path: Path) -> int:
    path.mkdir()
    return os.open(path, os.O_RDONLY)


def _new_file(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    with suppress(OSError):
        path.unlink()


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let of several processes only one at a time into the block that makes `folder`; the others wait for it.

    Who comes in looks again whether it is there by now. The lock dies with its holder.
    """
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = open_lock(folder.with_name(f".{folder.name}.lock"))
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def open_lock(path: Path) -> BinaryIO:
    """Return a file to lock, made where there is none; nothing is written to it, and no symbolic link is followed."""
    return _opened(path, "rb+", 0)


def open_to_append(path: Path) -> BinaryIO:
    """Return the file at `path`, made where there is none, to read and to add to; no symbolic link is followed."""
    return _opened(path, "ab+", os.O_APPEND)


def _opened(path: Path, mode: Literal["rb+", "ab+"], flags: int) -> BinaryIO:
    # a folder that came from somebody else may hold a link to any file of one's own
    descriptor = os.open(path, flags | os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    return os.fdopen(descriptor, mode)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` so that it holds the old content or the new one, never a part.

    Raises:
        DiskFull: no space is left on the device.
        UserError: nobody may write there.
    """
    with new_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write `lines` to `path`, atomically and without holding them all; each gets a line feed.

    Raises:
        DiskFull: no space is left on the device.
        UserError: nobody may write there.
    """
    with new_file(path) as file:
        file.writelines(f"{line}\n".encode() for line in lines)


@contextmanager
def new_file(path: Path, *, remedy: str = "") -> Iterator[BinaryIO]:
    """Yield a file that becomes `path` when the block ends well, in place of one that was there before.

    Raises:
        DiskFull: no space is left on the device.
        UserError: nobody may write there.
    """
    with writing(path, remedy=remedy):
        if path.exists() and not (path.is_file() or path.is_dir()):  # the file would take its place
            raise PermissionError(errno.EPERM, "a pipe or device", str(path))
        with _begun(path, _new_file) as (partial, descriptor):
            with open(descriptor, "wb", closefd=False) as file:
                yield file
            os.fsync(descriptor)
            os.replace(partial, path)
            _sync(path.parent)


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically."""
    write_atomic(path, _json(value))


def seal_json(path: Path, value: Mapping[str, object]) -> None:
    """Write a JSON object, atomically, with a hash of itself under `sealed`."""
    write_atomic(path, sealed_text(value))


def sealed_text(value: Mapping[str, object]) -> str:
    """Return a JSON object as `sealed_json` reads it from a file."""
    return _json({**value, "sealed": sha256_text(json.dumps(value))})


def sealed_json(path: Path) -> dict[str, Any] | None:
    """Return the object that `seal_json` wrote, or None where it is absent or not what was written."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return value if value.pop("sealed") == sha256_text(json.dumps(value)) else None
    except (OSError, ValueError, AttributeError, TypeError, KeyError, RecursionError):
        return None


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


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
        full = _no_room(error)
        if full:
            again = "free some space there and run the same command again: what was finished is kept"
            raise DiskFull(Problem(str(place), full, remedy=remedy or again)) from error
        if isinstance(error, OSError) and _is_refusal(error, place):
            reason = (error.strerror or str(error)).lower()
            raise UserError(
                Problem(str(place), f"cannot be written: {reason}", remedy=remedy or "choose another place")
            ) from error
        raise


def _no_room(error: Exception) -> str:
    """Return how the system said that no more can be written, if it did: disk, quota or a file's largest size."""
    told = {
        errno.ENOSPC: "no space left on the device",
        errno.EDQUOT: "the disk quota is used up",
        errno.EFBIG: "a file would be larger than is allowed",
    }
    for number, text in told.items():
        # safetensors wraps the system's error in its own type and keeps only the text
        if getattr(error, "errno", None) == number or os.strerror(number) in str(error):
            return text
    return ""


_REFUSALS = frozenset(
    {
        *(errno.EACCES, errno.EEXIST, errno.EISDIR, errno.ELOOP),
        *(errno.ENAMETOOLONG, errno.ENOTDIR, errno.EPERM, errno.EROFS),
    }
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
