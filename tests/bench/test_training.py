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


@pytest.mark.parametrize("row", [lora_cpu.ROW, full_cpu.ROW], ids=["lora", "full"])
def test_a_row_trains_on_its_job_and_gives_figures(
    row: TrainingRow, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "JOBS", tmp_path)
    # the tiny tokenizer has a token for each byte, so the row's own texts would be too long
    rows = training.write_rows(tmp_path / "all.jsonl").read_text().splitlines()
    short = "".join(f"{line}\n" for line in rows if len(line) < 350)
    monkeypatch.setattr(training, "write_rows", lambda path: (path.write_text(short), path)[1])
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
