"""The features of a table of rows: read from the model once, kept on disk in chunks, memory-mapped from then on.

<cache>/features/<fingerprint of model, rows, layer, pooling, precision>/
    00000.safetensors   rows 0 to 1023 of the table: `features` [rows, H] in fp32
    00000.json          its SHA-256, and the seconds that reading it took

A chunk counts once its hash is there, so extraction goes on where it was interrupted; memory holds one chunk,
whatever the number of rows. Layers and poolings that are not there yet are read together in one pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from tenfold.data.batch import Entry
from tenfold.data.prepare import Prepared
from tenfold.engine.log import Log
from tenfold.engine.store import fingerprint
from tenfold.errors import Interrupted, Problem
from tenfold.features.views import Part, View, read_parts
from tenfold.files import seal_json, sealed_json, sha256_file, write_atomic
from tenfold.models.trunk import Trunk
from tenfold.paths import cache_folder

ROWS_PER_CHUNK = 1024


@dataclass(frozen=True)
class Features:
    """What was read of a table's rows: `folders` says where each part is."""

    num_rows: int
    folders: Mapping[Part, Path]
    seconds: float
    """What reading them took, now or when they were first read."""
    tokens: int
    """The tokens of all rows."""
    places: tuple[int, ...] | None = None
    """The rows that are meant; all when unset."""

    def take(self, places: Sequence[int]) -> Features:
        """Return the features of the rows at `places` alone."""
        return replace(self, places=tuple(places))

    def matrix(self, view: View) -> np.ndarray:
        """Return the view of all rows, [N, D] float32."""
        chunks = range(0, self.num_rows, ROWS_PER_CHUNK)
        columns = [
            np.concatenate([_opened(self.folders[part], start // ROWS_PER_CHUNK) for start in chunks])
            for part in view.parts
        ]
        rows = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)
        return rows if self.places is None else rows[list(self.places)]


@dataclass(frozen=True)
class Extraction:
    """Reads features of the model that `identity` names; `model` is called only for what is not there yet."""

    model: Callable[[], Trunk]
    identity: str
    batch_tokens: int
    """The tokens that go through the model at once (a longer row goes alone)."""
    log: Log
    stop_asked: Callable[[], bool] = lambda: False

    def of(self, prepared: Prepared, parts: Sequence[Part]) -> Features:
        """Return the features of all rows of `prepared`, read where they are not there yet.

        Raises:
            Interrupted: `stop_asked()` is true; what was read is kept.
            DiskFull: no space is left for them.
        """
        folders = {part: self.folder(prepared, part) for part in parts}
        for start in range(0, len(prepared), ROWS_PER_CHUNK):
            number = start // ROWS_PER_CHUNK
            missing = [part for part in parts if _seconds(folders[part], number) is None]
            if not missing:
                continue
            if self.stop_asked():
                again = "run the same command again: what was read is kept"
                raise Interrupted(Problem("stopped while features were read", "as asked", remedy=again))
            started = time.perf_counter()
            entries = prepared.entries(range(start, min(start + ROWS_PER_CHUNK, len(prepared))))
            found = self._read(prepared, entries, missing)
            seconds = (time.perf_counter() - started) / len(missing)
            for part, features in found.items():
                _keep(folders[part], number, features, seconds=seconds)
            self.log.write("note", text=f"features: {start + len(entries):,} of {len(prepared):,} rows")
        numbers = range(-(-len(prepared) // ROWS_PER_CHUNK))
        took = sum(_told(folder, number)["seconds"] for folder in folders.values() for number in numbers)
        return Features(len(prepared), folders, took, int(prepared.column("length").sum()))

    def folder(self, prepared: Prepared, part: Part) -> Path:
        """Return where a part of the features of `prepared` is kept."""
        key = fingerprint("features", self.identity, prepared.fingerprint, part.name)
        return cache_folder("features") / key

    def _read(self, prepared: Prepared, entries: Sequence[Entry], parts: Sequence[Part]) -> dict[Part, Tensor]:
        model = self.model()
        model.eval()
        found: dict[Part, Tensor] = {}
        for places in batches_of([len(entry.input_ids) for entry in entries], tokens=self.batch_tokens):
            batch = prepared.batch([entries[place] for place in places])
            for part, features in read_parts(model, batch, parts).items():
                if part not in found:
                    found[part] = features.new_empty(len(entries), features.shape[1])
                found[part][torch.tensor(places)] = features
        return found


def batches_of(lengths: Sequence[int], *, tokens: int) -> Iterator[list[int]]:
    """Yield the places of rows in batches of at most `tokens` tokens, the shortest rows first."""
    batch: list[int] = []
    size = 0
    for place in sorted(range(len(lengths)), key=lambda place: (lengths[place], place)):
        if batch and size + lengths[place] > tokens:
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += lengths[place]
    if batch:
        yield batch


def _keep(folder: Path, number: int, features: Tensor, *, seconds: float) -> None:
    path = folder / f"{number:05d}.safetensors"
    write_atomic(path, save({"features": features.contiguous()}))
    seal_json(path.with_suffix(".json"), {"sha256": sha256_file(path), "seconds": seconds})


def _seconds(folder: Path, number: int) -> float | None:
    """Return what reading the chunk took, or None where it is not there as it was written: then it is read again."""
    try:
        told = _told(folder, number)
        is_whole = told["sha256"] == sha256_file(folder / f"{number:05d}.safetensors")
        return float(told["seconds"]) if is_whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _told(folder: Path, number: int) -> dict[str, Any]:
    return sealed_json(folder / f"{number:05d}.json") or {}


def _opened(folder: Path, number: int) -> np.ndarray:
    path = folder / f"{number:05d}.safetensors"
    try:
        with safe_open(path, framework="numpy") as file:
            return cast(np.ndarray, file.get_tensor("features"))
    except (OSError, SafetensorError) as error:
        raise AssertionError(f"{path} was there a moment ago") from error
