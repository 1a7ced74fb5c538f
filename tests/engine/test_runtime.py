"""What a run takes from the machine: asked once, remembered, and refused where it is not there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch

from tenfold.engine import runtime
from tenfold.engine.runtime import derived_seed, measured_precision, measured_threads, open_runtime, read_machine
from tenfold.errors import RecipeError
from tenfold.recipe import RuntimeSection

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Put torch's number of threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def seconds(monkeypatch: pytest.MonkeyPatch, **measured: float) -> list[torch.dtype]:
    """Let products take these times by type, and return the list of those that were measured."""
    asked: list[torch.dtype] = []

    def took(dtype: torch.dtype, **_: object) -> float:
        asked.append(dtype)
        return measured["bf16" if dtype == torch.bfloat16 else "fp32"]

    monkeypatch.setattr(runtime, "_matmul_seconds", took)
    return asked


def test_what_the_recipe_says_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = seconds(monkeypatch)
    found = open_runtime(RuntimeSection(device="cpu", precision="bf16", threads=2, seed=7))
    assert found.chosen == {"device": "cpu", "precision": "bf16", "threads": 2}
    assert (found.compute_dtype, found.autocast, torch.get_num_threads()) == (torch.bfloat16, torch.bfloat16, 2)
    first = torch.rand(3)
    open_runtime(RuntimeSection(device="cpu", precision="fp32", threads=1, seed=7))
    assert torch.equal(torch.rand(3), first)
    assert asked == []


def test_fp32_computes_in_fp32() -> None:
    found = open_runtime(RuntimeSection(device="cpu", precision="fp32", threads=1))
    assert (found.compute_dtype, found.autocast) == (torch.float32, None)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is there")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"runtime\.device: cuda is not available here\n  allowed: auto, cpu"):
        open_runtime(RuntimeSection(device="cuda"))


@pytest.mark.parametrize(("bf16", "chosen"), [(0.5, "bf16"), (0.9, "fp32"), (3.0, "fp32")])
def test_auto_takes_bf16_only_where_it_is_clearly_faster(
    bf16: float, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds(monkeypatch, fp32=1.0, bf16=bf16)
    assert measured_precision(CPU) == chosen


def test_the_precision_is_measured_once_and_anew_when_its_record_is_damaged(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = seconds(monkeypatch, fp32=1.0, bf16=0.1)
    assert [measured_precision(CPU) for _ in range(3)] == ["bf16"] * 3
    assert len(asked) == 2
    (record,) = (cache / "precision").iterdir()
    assert json.loads(record.read_text())["seconds"] == {"fp32": 1.0, "bf16": 0.1}
    record.write_text("{")
    assert measured_precision(CPU) == "bf16"
    assert len(asked) == 4


def test_one_thread_is_taken_where_more_are_slower(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(2)
    monkeypatch.setattr(runtime, "_matmul_seconds", lambda dtype: 1.0 if torch.get_num_threads() == 1 else 2.0)
    assert measured_threads(CPU) == 1
    torch.set_num_threads(2)
    monkeypatch.setattr(runtime, "_matmul_seconds", lambda dtype: 1.0 if torch.get_num_threads() == 1 else 0.6)
    assert measured_threads(CPU) == 2


def test_the_machine_is_told_with_the_faster_of_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    own = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(runtime, "_device", lambda asked: "cpu")
    monkeypatch.setattr(runtime, "measured_precision", lambda device: "fp32")
    monkeypatch.setattr(runtime, "_matmul_seconds", lambda dtype, **_: 0.25 if torch.get_num_threads() == 1 else 0.5)
    machine = read_machine()
    assert (machine.device, machine.precision, machine.flops) == ("cpu", "fp32", 2 * 512 * 1024 * 1024 / 0.25)
    assert torch.get_num_threads() == 2
    assert machine.cores >= 1
    assert 10**8 < machine.memory_bytes <= psutil.virtual_memory().total
    torch.set_num_threads(own)


def test_every_part_of_a_run_has_a_seed_of_its_own() -> None:
    seeds = [derived_seed(0), derived_seed(1), derived_seed(0, "a"), derived_seed(0, "b"), derived_seed(0, "a", "b")]
    assert len({*seeds, derived_seed(0, "ab")}) == 6
    assert derived_seed(3, "attach") == derived_seed(3, "attach")
    torch.manual_seed(max(seeds))
