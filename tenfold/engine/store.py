"""The stage store: a finished stage or score is kept under the hash of all that determines it, and paid for once.

<cache>/stages/<fingerprint>/   trainable.safetensors, result.json
<cache>/scores/<fingerprint>.json
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from tenfold.engine.checkpoint import on_cpu
from tenfold.engine.stage import StageResult
from tenfold.files import atomic_folder, sha256_file, sha256_text, write_json
from tenfold.paths import cache_folder

PARTS_THAT_DECIDE = ("data", "models", "tuning", "objectives", "kernels", "engine", "evaluation")
"""The rooms whose code can change what a stage comes to."""


@cache
def code_version() -> str:
    """Return a hash of the deciding rooms' source and of the versions of the libraries they stand on."""
    package = Path(__file__).parent.parent
    sources = [path for room in PARTS_THAT_DECIDE for path in sorted((package / room).rglob("*.py"))]
    libraries = [f"{name} {_version(name)}" for name in ("torch", "transformers", "peft", "tokenizers")]
    return sha256_text(*libraries, *(path.read_text(encoding="utf-8") for path in sources))


def fingerprint(*parts: str | Mapping[str, object]) -> str:
    """Return the hash of everything that determines a result, this code's version included."""
    texts = [part if isinstance(part, str) else json.dumps(part, sort_keys=True, default=str) for part in parts]
    return sha256_text(code_version(), *texts)


def stored_stage(key: str) -> tuple[dict[str, Tensor], StageResult] | None:
    """Return the trained parameters and the result kept under `key`, or None when absent or damaged."""
    folder = cache_folder("stages") / key
    try:
        record = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        weights = folder / "trainable.safetensors"
        if sha256_file(weights) != record["sha256"]:
            return None
        return load_file(weights), replace(StageResult(**record["result"]), from_store=True)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def store_stage(key: str, trainable: Mapping[str, Tensor], result: StageResult) -> None:
    """Keep a finished stage under `key`; a damaged one there before is replaced."""
    folder = cache_folder("stages") / key
    if folder.exists():
        shutil.rmtree(folder)
    with atomic_folder(folder) as partial:
        weights = partial / "trainable.safetensors"
        save_file(on_cpu(trainable), weights)
        write_json(partial / "result.json", {"result": asdict(result), "sha256": sha256_file(weights)})


@dataclass(frozen=True)
class StoredScore:
    """A scorecard as plain values, and the seconds that measuring it took."""

    scorecard: dict[str, Any]
    seconds: float


def stored_score(key: str) -> StoredScore | None:
    """Return the score kept under `key`, or None when absent or damaged."""
    try:
        return StoredScore(**json.loads((cache_folder("scores") / f"{key}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def store_score(key: str, score: StoredScore) -> None:
    """Keep a score under `key`."""
    write_json(cache_folder("scores") / f"{key}.json", asdict(score))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
