"""A training row, from the job to its figures, on a tiny model; Tenfold stands on both sides, so nothing may differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import training
from bench.ours import train
from bench.pairs import Measured, Pair
from bench.rows import full_cpu, lora_cpu
from bench.training import Options, TrainingRow
from tests.bench.short import use_short_rows


@pytest.mark.parametrize("row", [lora_cpu.ROW, full_cpu.ROW], ids=["lora", "full"])
def test_a_row_trains_on_its_job_and_gives_figures(
    row: TrainingRow, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_short_rows(training, tmp_path, monkeypatch)
    folder = training.prepare(row, Options(pairs=1, updates=2, cores="0", model=str(model_folder)))
    job = json.loads((folder / "job.json").read_text())
    train.main(folder, folder / "result.json")
    side = Measured(json.loads((folder / "result.json").read_text()), peak_bytes=10**9)
    figures = training._figures(row, job, [Pair(peer=side, ours=side)], ceilings=[1.0])
    assert figures["updates_timed"] == 2 and len(side.facts["losses"]) == 3
    assert figures["loss"]["agree"] and figures["loss"]["relative_difference"] == 0
    assert figures["peak_memory_ratio"]["median"] == figures["tokens_per_second_ratio"]["median"] == 1

    side.facts["tokens"][-1] -= 1
    with pytest.raises(RuntimeError, match="tokens seen"):
        training._figures(row, job, [Pair(peer=side, ours=side)], ceilings=[1.0])
