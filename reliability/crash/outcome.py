"""What a run has left behind, without what no two runs have alike; and what should not be there."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tenfold.files import sha256_file, sha256_text

NOT_COMPARED = (
    "seconds and tokens per second, wherever they stand, and what they add up to (`timings.json`)",
    "peak memory and the load of the machine",
    "which stages a finishing run took from the store (`provenance.json`)",
    "the verdict on claims of speed or memory, and the sentence behind any verdict",
    "of `log.jsonl` all but the losses, gradient norms and rates of updates, as one that was killed says more",
    "`README.md`, which tells all of this in words",
    "in saved estimators the times of the archive's members and the addresses that skops numbers objects by",
)
"""What `artifact_of` leaves out."""

_OF_THIS_RUN = ("tokens_per_second", "peak_memory_bytes", "from_store", "load_average", "sha256", "sealed")
_OF_TIME = ("faster", "less time", "times")


def artifact_of(folder: Path) -> dict[str, str]:
    """Return a hash of each file in the output `folder` of a run, without what `NOT_COMPARED` names."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): _content(path) for path in files}


def cache_of(folder: Path) -> dict[str, str]:
    """Return a hash of each file of tensors or rows in the cache `folder`; of others the name counts."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        # hashes/ is keyed by when files were written
        if path.is_file() and not name.startswith("hashes/") and not name.endswith(".lock"):
            is_exact = path.suffix in (".safetensors", ".arrow", ".npy", ".bin", ".jsonl")
            found[name] = sha256_file(path) if is_exact else "there"
    return found


def leftovers(folder: Path) -> list[str]:
    """Return what of unfinished work lies anywhere below `folder`; locks are none, they are made once and stay."""
    marks = (".partial", ".unfinished", ".gone", ".tmp", ".incomplete")
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.name.endswith(marks) or path.name.startswith((".unfinished", "tmp")) or path.name == "checkpoints"
    ]
    broken = [path for path in folder.rglob("*.json") if not _parses(path)]
    return [str(path.relative_to(folder)) for path in (*found, *broken)]


def differences(straight: Mapping[str, str], killed: Mapping[str, str]) -> list[str]:
    """Return the names of what is not the same in both."""
    return sorted(name for name in {*straight, *killed} if straight.get(name) != killed.get(name))


def _content(path: Path) -> str:
    special = _SPECIAL.get(path.name)
    if special is not None:
        return special(path)
    if path.suffix == ".json":
        return _hash(_lasting(json.loads(path.read_text(encoding="utf-8"))))
    return _archive(path) if path.suffix == ".skops" else sha256_file(path)


def _lasting(value: Any) -> Any:
    """Return a JSON value without measurements of time and memory, and hashes of files that hold them."""
    if isinstance(value, list):
        return [_lasting(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: _lasting(each) for key, each in value.items() if "seconds" not in key and key not in _OF_THIS_RUN}


def _claims(path: Path) -> str:
    verdicts = json.loads(path.read_text(encoding="utf-8"))
    return _hash(
        [
            (each["claim"], None if any(word in each["claim"] for word in _OF_TIME) else each["outcome"])
            for each in verdicts
        ]
    )


def _curve(path: Path) -> str:
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    updates = [_lasting(event) for event in events if event["event"] == "update"]
    return _hash(sorted(updates, key=lambda event: (event["stage"], event["update"])))


def _archive(path: Path) -> str:
    """Return a hash of the arrays in a saved estimator; what it answers with them stands in the scorecard."""
    with zipfile.ZipFile(path) as archive:
        arrays = sorted(member.CRC for member in archive.infolist() if member.filename.endswith(".npy"))
    return _hash(arrays)


def _nothing(path: Path) -> str:
    return "there"


_SPECIAL: Mapping[str, Callable[[Path], str]] = {
    "claims.json": _claims,
    "log.jsonl": _curve,
    "README.md": _nothing,
    "timings.json": _nothing,
}


def _hash(value: object) -> str:
    return sha256_text(json.dumps(value, sort_keys=True))


def _parses(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True
