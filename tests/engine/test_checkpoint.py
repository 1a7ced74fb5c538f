"""Checkpoints: whole or absent, checked by hash, the newest few."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tenfold.engine import checkpoint as checkpoint_file
from tenfold.engine.checkpoint import Checkpoint, CheckpointFolder, Position, random_state, restore_random
from tenfold.errors import DiskFull, UserError

CPU = torch.device("cpu")


def checkpoint(update: int = 1, *, best: bool = False) -> Checkpoint:
    generator = torch.Generator().manual_seed(update)
    weight = torch.randn(3, 2, generator=generator)
    return Checkpoint(
        position=Position(update=update, tokens=7, last_loss=0.1 + update, best_value=0.5, micro_batch_tokens=64),
        trainable={"a.weight": weight, "a.bias": weight[:, 0]},  # two views of one memory
        optimizer={"a.weight|exp_avg": weight.t(), "a.weight|step": torch.tensor(3.0)},
        random=random_state(CPU),
        tuner={},
        best={"a.weight": weight + 1} if best else None,
    )


def same(first: Checkpoint, second: Checkpoint) -> bool:
    tensors = ("trainable", "optimizer", "random", "tuner", "best")
    pairs = [(getattr(first, name) or {}, getattr(second, name) or {}) for name in tensors]
    return first.position == second.position and all(
        one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one) for one, other in pairs
    )


@pytest.mark.parametrize("best", [True, False])
def test_what_was_saved_comes_back_to_the_last_bit(best: bool, tmp_path: Path) -> None:
    saved = checkpoint(best=best)
    folder = CheckpointFolder(tmp_path, keep=2)
    folder.save(saved)
    found, notes = folder.newest()
    assert found is not None
    assert same(found, saved)
    assert notes == []


def test_there_may_be_none(tmp_path: Path) -> None:
    assert CheckpointFolder(tmp_path / "none", keep=2).newest() == (None, [])


def test_the_newest_few_are_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    for update in (9, 10, 100):
        folder.save(checkpoint(update))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["update-00000010", "update-00000100"]


@pytest.mark.parametrize("file", ["trainable.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["changed", "cut", "missing"])
def test_a_damaged_one_is_passed_over_with_a_note(file: str, damage: str, tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=3)
    sound = checkpoint(1)
    folder.save(sound)
    path = folder.save(checkpoint(2)) / file
    content = path.read_bytes()
    match damage:
        case "changed":
            path.write_bytes(content[:-3] + b"\x01\x02\x03")
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "missing":
            path.unlink()
    found, notes = folder.newest()
    assert found is not None
    assert same(found, sound)
    assert notes == ["checkpoint update-00000002 is damaged (its hashes do not hold); going back to the one before"]


def test_with_all_damaged_it_starts_over_and_says_so(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    for update in (1, 2):
        (folder.save(checkpoint(update)) / "state.json").write_text("[]")
    found, notes = folder.newest()
    assert (found, len(notes)) == (None, 2)


def test_one_that_was_not_finished_does_not_count(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    folder.save(checkpoint(1))
    (tmp_path / ".update-00000002.77.partial").mkdir()
    found, notes = folder.newest()
    assert found is not None
    assert (found.position.update, notes) == (1, [])


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_keeps_what_was_there(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CheckpointFolder(tmp_path, keep=1)
    saved = checkpoint(1)
    folder.save(saved)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, full)
        with pytest.raises(
            DiskFull, match=r"update-00000002: no space left on the device\n  do: free some space there"
        ):
            folder.save(checkpoint(2))
    found, _ = folder.newest()
    assert found is not None
    assert same(found, saved)
    assert [path.name for path in tmp_path.iterdir()] == ["update-00000001"]


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UserError, match=r"update-00000001: cannot be written: .*\n  do: choose another place"):
        CheckpointFolder(tmp_path / "file" / "stage", keep=1).save(checkpoint(1))
    assert (tmp_path / "file").read_text() == "precious"


def test_random_numbers_go_on_where_they_stopped(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=1)
    torch.manual_seed(5)
    torch.rand(3)
    folder.save(replace(checkpoint(), random=random_state(CPU)))
    expected = torch.rand(4)
    found, _ = folder.newest()
    assert found is not None
    restore_random(found.random, CPU)
    assert torch.equal(torch.rand(4), expected)


def test_saving_again_replaces_a_damaged_one_and_keeps_the_sound_ones(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=1)
    folder.save(checkpoint(4))
    damaged = CheckpointFolder(tmp_path, keep=2).save(checkpoint(8)) / "state.json"
    damaged.write_text("{")
    folder.save(checkpoint(6))
    found, notes = folder.newest()
    assert found is not None
    assert (found.position.update, notes) == (6, [])
    assert [path.name for path in tmp_path.iterdir()] == ["update-00000006"]


def test_what_can_be_written_as_it_lies_is_not_copied_and_what_shares_memory_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = torch.arange(8.0)
    large = {"own": torch.rand(4, 3), "turned": torch.rand(2, 5).T, "first": both[:6], "second": both[2:]}
    handed: dict[str, torch.Tensor] = {}

    def noted(tensors: dict[str, torch.Tensor], path: Path) -> None:
        handed.update(tensors)
        save_file(tensors, path)

    monkeypatch.setattr(checkpoint_file, "save_file", noted)
    checkpoint_file.write_tensors(tmp_path, {"optimizer": large})
    assert [name for name in large if handed[name].data_ptr() == large[name].data_ptr()] == ["own"]
    read = load_file(tmp_path / "optimizer.safetensors")
    assert all(torch.equal(read[name], value) for name, value in large.items())
