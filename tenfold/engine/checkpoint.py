"""How a stage is saved in the middle and found again: whole folders, checked by hash, no pickle.

    checkpoints/<stage>/update-00000050/
        trainable.safetensors   the trained parameters, by name
        optimizer.safetensors   AdamW's state, by parameter name
        random.safetensors      torch's random state, one vector a device and rank
        tuner.safetensors       what the tuner itself keeps between updates (AdaLoRA's importance scores)
        best.safetensors        the best trained parameters so far, where a best is looked for
        parts/*.safetensors     in place of these three where weights are sharded: what each rank holds of them
        state.json              position, the stage's own hash, the SHA-256 of the other files, and one of itself

A checkpoint appears under its name only when complete. One whose hashes do not hold is passed over for the one before;
so is one of another stage of that name: after a change of code or libraries nobody goes on from what was before it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tenfold.engine.parts import write_parts
from tenfold.engine.ranks import ALONE, Ranks
from tenfold.files import atomic_folder, sealed_json, sealed_text, sha256_file, writing
from tenfold.models.sharding import is_sharded, whole

PARTS = "parts"
"""The folder of what each rank holds, where weights are sharded."""

DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, SafetensorError)
"""What reading a record and its tensors raises where they are not what was written."""


@dataclass(frozen=True)
class Position:
    """How far a stage has come: all that is not a tensor."""

    update: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    seconds: float = 0.0
    last_loss: float = float("nan")
    micro_batch_tokens: int = 0
    best_value: float | None = None
    best_update: int | None = None
    evaluations_without_gain: int = 0
    selection_seconds: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """Everything needed to go on as if nothing had happened. `best` is the best trainable state so far, if any."""

    position: Position
    trainable: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    random: Mapping[str, Tensor]
    tuner: Mapping[str, Tensor]
    best: Mapping[str, Tensor] | None = None
    parts: Path | None = None
    """Where weights were sharded: the folder that `trainable`, `optimizer` and `best` are then to be read from."""

    @property
    def is_sharded(self) -> bool:
        """Whether this rank holds only a part of the weights."""
        return any(is_sharded(value) for value in self.trainable.values())


class CheckpointFolder:
    """The checkpoints of one stage in one output folder; the newest `keep` stay. `key` tells the stage from others."""

    def __init__(self, folder: Path, *, keep: int, key: str = "") -> None:
        self.folder = folder
        self.keep = keep
        self.key = key

    def save(self, checkpoint: Checkpoint, ranks: Ranks = ALONE) -> Path:
        """Write `checkpoint` and remove all but the newest `keep`; every one of the `ranks` calls this alike.

        Raises:
            DiskFull: no space is left; the checkpoints that were there before stay.
        """
        target = self.folder / f"update-{checkpoint.position.update:08d}"
        small = {"random": checkpoint.random, "tuner": checkpoint.tuner}
        large = {"trainable": checkpoint.trainable, "optimizer": checkpoint.optimizer}
        if checkpoint.best is not None:
            large["best"] = checkpoint.best

        def begin() -> Path:
            for damaged in (folder for folder in self._all() if folder.name >= target.name):
                shutil.rmtree(damaged)  # training came from before it, so it could not be read
            return held.enter_context(atomic_folder(target))

        def end() -> None:
            hashes = write_tensors(partial, small if checkpoint.is_sharded else {**small, **large})
            hashes |= {f"{PARTS}/{path.stem}": sha256_file(path) for path in (partial / PARTS).glob("*.safetensors")}
            state = {"position": asdict(checkpoint.position), "stage": self.key, "sha256": hashes}
            (partial / "state.json").write_text(sealed_text(state), encoding="utf-8")
            held.close()
            for old in self._all()[: -self.keep]:
                shutil.rmtree(old)

        with ExitStack() as held:
            partial = ranks.first(begin)
            if checkpoint.is_sharded:
                named = {f"{part}|{name}": value for part, tensors in large.items() for name, value in tensors.items()}
                with writing(target):
                    write_parts(partial / PARTS, named, ranks)
            ranks.first(end)
        return target

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """Return the newest sound checkpoint, and a line for each damaged one that was passed over."""
        notes: list[str] = []
        for folder in reversed(self._all()):
            checkpoint, key = _read(folder)
            if checkpoint is not None and key == self.key:
                return checkpoint, notes
            if checkpoint is not None:
                notes.append(f"checkpoint {folder.name} is of other code or settings; it is not gone on from")
                continue
            notes.append(f"checkpoint {folder.name} is damaged (its hashes do not hold); going back to the one before")
        return None, notes

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("update-*")) if self.folder.is_dir() else []


def _read(folder: Path) -> tuple[Checkpoint | None, str]:
    """Return the checkpoint in `folder`, None where it is damaged, and the hash of the stage that it is of."""
    state = sealed_json(folder / "state.json")
    if state is None:
        return None, ""
    try:
        parts = {name: sha256 for name, sha256 in state["sha256"].items() if name.startswith(f"{PARTS}/")}
        tensors = read_tensors(folder, {name: state["sha256"][name] for name in state["sha256"].keys() - parts.keys()})
        if tensors is None or not _are_whole(folder, parts):
            return None, ""
        if any(not isinstance(value, int | float | None) for value in state["position"].values()):
            return None, ""
        checkpoint = Checkpoint(
            position=Position(**state["position"]),
            trainable={} if parts else tensors["trainable"],
            optimizer={} if parts else tensors["optimizer"],
            random=tensors["random"],
            tuner=tensors["tuner"],
            best=tensors.get("best"),
            parts=folder / PARTS if parts else None,
        )
        return checkpoint, state["stage"]
    except DAMAGED:
        return None, ""


def write_tensors(folder: Path, parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, str]:
    """Write each part as `<name>.safetensors` and return the files' SHA-256 by name."""
    hashes = {}
    for name, tensors in parts.items():
        path = folder / f"{name}.safetensors"
        save_file(_writable(tensors), path)
        hashes[name] = sha256_file(path)
    return hashes


def read_tensors(folder: Path, hashes: Mapping[str, str]) -> dict[str, dict[str, Tensor]] | None:
    """Return the parts that `write_tensors` wrote, or None if a file's hash does not hold."""
    if not _are_whole(folder, hashes):
        return None
    return {name: load_file(folder / f"{name}.safetensors") for name in hashes}


def _are_whole(folder: Path, hashes: Mapping[str, str]) -> bool:
    return all(sha256_file(folder / f"{name}.safetensors") == sha256 for name, sha256 in hashes.items())


def _writable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as safetensors can write them: on the CPU, contiguous, in memory of their own.

    Those that are so already are not copied: of AdamW's state a copy is as large as what training holds of it.
    """
    held_by = Counter(value.untyped_storage().data_ptr() for value in tensors.values())
    return {
        name: value.detach().to("cpu", copy=held_by[value.untyped_storage().data_ptr()] > 1).contiguous()
        for name, value in tensors.items()
    }


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies that safetensors can write: on the CPU, contiguous, sharing no memory."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}


def hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the tensors' names, types, shapes and values, in the order of their names.

    Of those that are sharded all ranks call this alike.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        value = whole(tensor.detach())
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return torch's random state on the CPU and on `device`."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Set torch's random state to one that `random_state` returned; what is not in it stays as it is."""
    if "cpu" in state:
        torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
