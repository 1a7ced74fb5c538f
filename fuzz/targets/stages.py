"""Checkpoints and stored stages: files that a run wrote and reads again, one of them replaced."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch

from fuzz.promise import Target
from fuzz.targets.place import scratch, with_one_replaced
from tenfold.engine.checkpoint import Checkpoint, CheckpointFolder, Position
from tenfold.files import sealed_text, sha256_file


@cache
def _sound() -> dict[str, bytes]:
    tensors = {"a": torch.zeros(2)}
    folder = scratch() / "sound-checkpoints"
    place = CheckpointFolder(folder, keep=1).save(Checkpoint(Position(1), tensors, tensors, tensors, tensors))
    return {path.name: path.read_bytes() for path in place.iterdir()}


def _checkpoint(content: bytes) -> None:
    folder = scratch() / "checkpoints"
    place = folder / "update-00000001"
    replaced = with_one_replaced(place, _sound(), content)
    # with hashes that hold: else nothing of it is read
    state = _read_json(place / "state.json") if replaced == "state.json" else json.loads(_sound()["state.json"])
    if isinstance(state, dict):
        state.pop("sealed", None)
        hashes = state.get("sha256")
        if replaced != "state.json" and isinstance(hashes, dict):
            hashes[replaced.removesuffix(".safetensors")] = sha256_file(place / replaced)
        (place / "state.json").write_text(sealed_text(state), encoding="utf-8")
    CheckpointFolder(folder, keep=1).newest()


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None


TARGETS = (Target("checkpoint", "a checkpoint's `state.json` and tensors", _checkpoint),)
