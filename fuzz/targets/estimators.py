"""Saved estimators: an archive of skops with one member replaced, and the archive itself."""

from __future__ import annotations

import io
import zipfile
from functools import cache

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from fuzz.promise import Target
from fuzz.targets.place import scratch
from tenfold.features.estimator_files import load_estimator, to_bytes


@cache
def _members() -> tuple[dict[str, bytes], ...]:
    rows, classes = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    kinds = (LogisticRegression(), DecisionTreeClassifier(max_depth=2, random_state=0))
    return tuple(_unpacked(to_bytes(kind.fit(rows, classes))) for kind in kinds)


def _unpacked(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _read(content: bytes) -> None:
    """Read the input as a file, or, by its first byte, as one member of a sound one: its checksums are then right."""
    path = scratch() / "estimator.skops"
    places = [(members, name) for members in _members() for name in sorted(members)]
    place = content[0] if content else len(places)
    if place < len(places):
        members, replaced = places[place]
        with zipfile.ZipFile(path, "w") as archive:
            for name, sound in members.items():
                archive.writestr(name, content[1:] if name == replaced else sound)
    else:
        path.write_bytes(content)
    load_estimator(path)


TARGETS = (Target("estimator", "a saved estimator, `.skops`", _read, max_bytes=16_384),)
