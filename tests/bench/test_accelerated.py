"""A row for a GPU, on a CPU with a tiny model: Tenfold stands for each side, in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench import accelerated
from bench.accelerated import OURS, GpuRow, flops_per_token
from bench.ours import ceiling, train
from bench.page import SECTIONS
from bench.pairs import Measured
from bench.rows import GPU_ROWS, ROWS, gpu
from bench.shapes import SHAPES
from bench.training import Options
from tenfold.recipe import Recipe

TINY = {"hidden": 16, "inner": 32, "layers": 2, "heads": 4, "key_heads": 2}


def in_this_process(command: Sequence[str], *, result: Path, environment: dict[str, str]) -> Measured:
    (ceiling if result.stem == "ceiling" else train).main(Path(command[-1]), result)
    facts = json.loads(result.read_text())
    if result.stem != "ceiling":
        facts |= {"allocated_bytes": 2 * 10**9, "reserved_bytes": 3 * 10**9}
    return Measured(facts, peak_bytes=10**9)


@pytest.mark.parametrize("row", [gpu.ROWS[0], gpu.ROWS[4]], ids=lambda row: row.name)
def test_a_row_is_measured_and_told(
    row: GpuRow, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerated, "JOBS", tmp_path)
    monkeypatch.setattr(accelerated, "run_process", in_this_process)
    monkeypatch.setitem(SHAPES, "tiny", TINY)  # type: ignore[arg-type]
    there = {"trl": __file__, "unsloth": "nowhere", OURS: __file__}
    monkeypatch.setattr(accelerated, "python_of", lambda name: there[name])
    row = replace(row, shape="tiny", length=32, batch_size=2)
    found = row.measure(Options(pairs=2, updates=2, cores="all", model=str(model_folder)))
    assert found["missing"] == ["unsloth"]
    assert found["losses_agree"] and found["mean_loss"]["trl"] == found["mean_loss"][OURS]
    assert found["allocated_bytes"]["trl"]["median"] == 2
    assert set(found["flops_use"]) == {"trl", OURS} and found["flops_use"][OURS]["median"] > 0
    told = SECTIONS[found["kind"]](found)
    assert "| memory held, GB | 3.00 |" in told and "not measured: Unsloth." in told
    job = json.loads((tmp_path / row.name / "job.json").read_text())
    assert len(set(job["tokens"])) == 1 and 48 <= job["tokens"][0] <= 64
    assert (job["max_gradient_norm"] == 0) == ("in_backward" in row.optim)


def test_the_flops_of_a_token_are_those_of_its_products() -> None:
    inside = 2 * (2 * 16 * 16 + 2 * 8 * 16 + 3 * 16 * 32)
    weights = inside + 100 * 16
    # attention: 2 products of [length] x [hidden] a token, 2 FLOPs, 3 passes, 2 layers, half of it visible
    assert flops_per_token(TINY, 100, 8, 6) == 6 * weights + 2 * 2 * 3 * 2 * 8 * 16 / 2


@pytest.mark.parametrize("row", gpu.ROWS, ids=lambda row: row.name)
def test_the_settings_of_every_row_make_a_recipe(row: GpuRow) -> None:
    recipe = Recipe(
        tuner=row.tuner,
        optim={"learning_rate": row.learning_rate, **row.optim},
        data={"train": "rows.jsonl"},  # type: ignore[arg-type]
    )
    assert recipe.tuner.kind == row.tuner["kind"] and row.shape in SHAPES
    assert set(row.peers) == set(accelerated.PEERS)


def test_rows_for_a_gpu_are_apart_from_those_for_a_cpu() -> None:
    assert not set(GPU_ROWS) & set(ROWS)
    assert len(GPU_ROWS) == 5


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_row_is_measured_on_a_gpu(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerated, "JOBS", tmp_path)
    monkeypatch.setitem(SHAPES, "tiny", {**TINY, "hidden": 128})  # type: ignore[arg-type]
    row = replace(gpu.ROWS[0], shape="tiny", length=128, batch_size=2, peers={})
    found = row.measure(Options(pairs=1, updates=2, cores="all", model=str(model_folder), device="cuda"))
    assert found["allocated_bytes"][OURS]["median"] > 0
