"""Bits that flip and files that are cut, anywhere in the cache and in an artifact: found by their hashes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from reliability.crash.campaign import run_in_peace
from reliability.crash.outcome import artifact_of, differences
from reliability.crash.victim import run_in
from tenfold.artifact import Artifact
from tenfold.errors import ArtifactError
from tenfold.saving import READ_AGAIN
from tests.crash.conftest import Begin

WORKLOADS = ("instruction", "feature_based", "distillation of labels")


def damage(path: Path, kind: str) -> None:
    """Flip one bit in the middle of the file, or cut it there; a digit becomes another digit."""
    content = bytearray(path.read_bytes())
    places = [place for place, byte in enumerate(content) if chr(byte).isdigit()] if path.suffix == ".json" else []
    middle = places[len(places) // 2] if places else len(content) // 2
    content[middle] ^= 1
    path.write_bytes(content if kind == "flipped" else content[:middle])


@pytest.mark.parametrize("kind", ["flipped", "cut"])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_damage_of_all_that_a_cache_holds_changes_nothing(workload: str, kind: str, begin: Begin) -> None:
    folder = begin(workload)
    if workload == "distillation of labels" and not (folder.parent / "taught-labels" / "out").is_dir():
        assert run_in(folder.parent / "taught-labels").code == 0
    straight = run_in_peace(folder)
    kept = [path for path in (folder / "cache").rglob("*") if path.is_file() and path.suffix in DAMAGED]
    assert len({path.relative_to(folder / "cache").parts[0] for path in kept}) >= 3, "several rooms"
    for path in kept:
        damage(path, kind)
    shutil.rmtree(folder / "out")
    ended = run_in(folder)
    assert ended.code == 0, ended.said
    assert differences(straight.artifact, artifact_of(folder / "out")) == []


DAMAGED = (".safetensors", ".json", ".arrow", ".npy", ".skops")


@pytest.mark.parametrize("kind", ["flipped", "cut"])
def test_an_artifact_of_which_a_file_has_changed_is_refused_by_name(kind: str, laid_out: Path, tmp_path: Path) -> None:
    for name in ("artifact.json", *READ_AGAIN, "adapter/adapter_model.safetensors", "adapter/tokenizer.json"):
        folder = tmp_path / name.replace("/", "-")
        shutil.copytree(laid_out / "straight" / "out", folder)
        if not (folder / name).is_file():
            continue
        damage(folder / name, kind)
        with pytest.raises(ArtifactError, match=r"hash does not hold|not JSON") as told:
            read_all(Artifact.open(folder))
        assert str(folder / name) in str(told.value)


def read_all(artifact: Artifact) -> None:
    """Read every part of `artifact`."""
    for part in ("recipe", "scorecard", "cost", "claims", "lineage", "provenance", "generations"):
        getattr(artifact, part)
    artifact.load()
