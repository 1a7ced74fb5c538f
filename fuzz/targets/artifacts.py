"""A finished run's folder with one file replaced: everything but weights that is read of it."""

from __future__ import annotations

from functools import cache

from fuzz.promise import Target
from fuzz.targets.place import scratch, with_one_replaced
from tenfold.artifact import Artifact
from tests.compare.artifacts import artifact


@cache
def _sound() -> dict[str, bytes]:
    folder = scratch() / "sound-artifact"
    artifact(folder, claims=[dict.fromkeys(("claim", "source", "outcome", "because"), "x")])
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _read(content: bytes) -> None:
    folder = scratch() / "artifact"
    replaced = with_one_replaced(folder, _sound(), content)
    opened = Artifact.open(folder)
    name = replaced.partition(".")[0]
    if name in ("recipe", "scorecard", "cost", "claims", "lineage", "provenance", "generations"):
        getattr(opened, name)
    assert opened.weights.resolve().parent == folder.resolve(), "weights outside of the artifact"


TARGETS = (Target("artifact", "an artifact's small files", _read),)
