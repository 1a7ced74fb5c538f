"""The stage store: a finished stage or score is kept under the hash of all that determines it, and paid for once.

<cache>/stages/<fingerprint>/   trainable.safetensors, tuner.safetensors, result.json; or what a fit made, result.json
<cache>/scores/<fingerprint>.json
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import Tensor

from tenfold.engine.checkpoint import DAMAGED, read_tensors, write_tensors
from tenfold.engine.stage import StageResult
from tenfold.files import atomic_folder, one_at_a_time, seal_json, sealed_json, sealed_text, sha256_file, sha256_text
from tenfold.paths import cache_folder

PARTS_THAT_DECIDE = (
    *("data", "models", "tuning", "objectives", "kernels", "engine", "evaluation", "tasks", "features", "teaching"),
)
"""The rooms whose code can change what a stage comes to."""

MOST_BYTES = 20 * 10**9
"""Of trained stages together; those used longest ago make room."""

LIBRARIES = ("torch", "transformers", "peft", "tokenizers", "bitsandbytes", "scikit-learn", "numpy")
"""The libraries whose version can."""


@cache
def code_version() -> str:
    """Return a hash of the deciding rooms' source and of the versions of the libraries they stand on."""
    package = Path(__file__).parent.parent
    sources = [path for room in PARTS_THAT_DECIDE for path in sorted((package / room).rglob("*.py"))]
    libraries = [f"{name} {installed_version(name)}" for name in LIBRARIES]
    return sha256_text(*libraries, *(path.read_text(encoding="utf-8") for path in sources))


def fingerprint(*parts: str | Mapping[str, object]) -> str:
    """Return the hash of everything that determines a result, this code's version included."""
    texts = [part if isinstance(part, str) else json.dumps(part, sort_keys=True, default=str) for part in parts]
    return sha256_text(code_version(), *texts)


@dataclass(frozen=True)
class StoredStage:
    """A finished stage: the trained parameters, what the tuner keeps beside them, and what it came to."""

    trainable: Mapping[str, Tensor]
    tuner: Mapping[str, Tensor]
    result: StageResult


def stored_stage(key: str) -> StoredStage | None:
    """Return the stage kept under `key`, or None when absent or damaged."""
    folder = cache_folder("stages") / key
    record = sealed_json(folder / "result.json")
    if record is None:
        return None
    try:
        tensors = read_tensors(folder, record["sha256"])
        if tensors is None:
            return None
        with suppress(OSError):  # a store that may only be read
            (folder / "trainable.safetensors").touch()  # used just now: others make room first
        return StoredStage(tensors["trainable"], tensors["tuner"], StageResult(**record["result"]))
    except DAMAGED:
        return None


def store_stage(key: str, stage: StoredStage) -> None:
    """Keep a finished stage under `key`; a damaged one there before is replaced, one that another run made is kept."""
    folder = cache_folder("stages") / key
    with one_at_a_time(folder):
        if stored_stage(key) is not None:
            return
        shutil.rmtree(folder, ignore_errors=True)
        with atomic_folder(folder) as partial:
            hashes = write_tensors(partial, {"trainable": stage.trainable, "tuner": stage.tuner})
            _write_result(partial, stage.result, hashes)
    _make_room(cache_folder("stages"), but=folder)


def _write_result(folder: Path, result: StageResult, hashes: Mapping[str, str]) -> None:
    record = sealed_text({"result": asdict(result), "sha256": hashes})
    (folder / "result.json").write_text(record, encoding="utf-8")


def _make_room(stages: Path, *, but: Path) -> None:
    """Remove the stages that were used longest ago, until all together take no more than `MOST_BYTES`.

    What a fit made stays: a run answers from there, and it is small.
    """
    folders = [folder for folder in stages.iterdir() if folder != but and not folder.name.startswith(".")]
    weights = [folder / "trainable.safetensors" for folder in folders if (folder / "trainable.safetensors").is_file()]
    with suppress(OSError):  # another run makes room too
        found = sorted((path.stat().st_mtime, path.stat().st_size, path.parent) for path in weights)
        left = sum(size for _, size, _ in found) + (but / "trainable.safetensors").stat().st_size
        for _, size, folder in found:
            if left <= MOST_BYTES:
                return
            # out of sight at once: a run that looks it up meanwhile finds all of it or nothing
            gone = folder.rename(folder.with_name(f".{folder.name}.gone.partial"))
            shutil.rmtree(gone, ignore_errors=True)
            left -= size


def stored_fit(key: str) -> tuple[Path, StageResult] | None:
    """Return the folder of what a fit made and what it came to, or None when absent or damaged."""
    folder = cache_folder("stages") / key
    record = sealed_json(folder / "result.json")
    if record is None:
        return None
    try:
        is_whole = all(sha256_file(folder / name) == sha256 for name, sha256 in record["sha256"].items())
        return (folder, StageResult(**record["result"])) if is_whole else None
    except DAMAGED:
        return None


def store_fit(key: str, make: Callable[[Path], StageResult]) -> tuple[Path, StageResult]:
    """Keep under `key` what `make` writes into a folder, and return that folder and what it came to.

    While it is made by another run, this one waits and takes that.
    """
    folder = cache_folder("stages") / key
    with one_at_a_time(folder):
        known = stored_fit(key)
        if known is not None:
            return known
        shutil.rmtree(folder, ignore_errors=True)
        with atomic_folder(folder) as partial:
            result = make(partial)
            hashes = {path.name: sha256_file(path) for path in sorted(partial.iterdir())}
            _write_result(partial, result, hashes)
    return folder, result


@dataclass(frozen=True)
class StoredScore:
    """A scorecard as plain values, and the seconds that measuring it took."""

    scorecard: dict[str, Any]
    seconds: float


def stored_score(key: str) -> StoredScore | None:
    """Return the score kept under `key`, or None when absent or damaged."""
    score = sealed_json(cache_folder("scores") / f"{key}.json")
    return None if score is None else StoredScore(**score)


def store_score(key: str, score: StoredScore) -> None:
    """Keep a score under `key`."""
    seal_json(cache_folder("scores") / f"{key}.json", asdict(score))


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
