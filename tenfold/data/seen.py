"""Which rows a run has trained on, as an artifact keeps it: the keys of their prompts, never the rows themselves."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np

from tenfold.data.fields import RowFault
from tenfold.data.identity import prompt_keys
from tenfold.data.prepare import Prepared
from tenfold.data.sources import Rows
from tenfold.files import write_atomic

FILE = "training_rows.npz"
"""For each task the keys of its training rows' prompts, 8 bytes each."""


def save_seen(folder: Path, training: Mapping[str, Prepared]) -> None:
    """Write the keys of each task's `training` rows into `folder`."""
    content = io.BytesIO()
    np.savez(content, **{name: np.unique(rows.prompts()[0]) for name, rows in training.items()})  # type: ignore[arg-type]
    write_atomic(folder / FILE, content.getvalue())


def count_seen(folder: Path, task: str, rows: Prepared, entries: Sequence[int]) -> int | None:
    """Return how many of the `entries` of `rows` have a prompt that a training row of `task` has too.

    The prompt is the same after `identity.normalised`, whatever the reply; None where `folder` holds no keys.
    """
    if not (folder / FILE).is_file():
        return None
    with np.load(folder / FILE) as known:
        keys, owners = rows.prompts()
        return int(np.isin(entries, owners[np.isin(keys, known[task])]).sum())


def count_taught(folder: Path, rows: Rows, *, but: Rows, train_on: Literal["all", "last"]) -> int | None:
    """Return how many of `rows` have a prompt that a training row of any task of the run in `folder` has too.

    Prompts that a row of `but` has do not count, nor does a row that cannot be read. None where `folder` holds no keys.
    """
    if not (folder / FILE).is_file():
        return None
    with np.load(folder / FILE) as kept:
        known = {int(key) for task in kept.files for key in kept[task]}
    known -= {key for keys in _keys(but, train_on) for key in keys}
    return sum(not known.isdisjoint(keys) for keys in _keys(rows, train_on))


def _keys(rows: Rows, train_on: Literal["all", "last"]) -> Iterator[list[int]]:
    for _, chunk in rows.chunks():
        for row in chunk:
            with suppress(RowFault):
                yield prompt_keys(rows.read(row), train_on)
