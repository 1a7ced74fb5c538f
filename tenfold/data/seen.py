"""Which rows a run has trained on, as an artifact keeps it: the keys of their prompts, never the rows themselves."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tenfold.data.prepare import Prepared
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
