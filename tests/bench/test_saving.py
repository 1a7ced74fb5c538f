"""A row of settings that save memory, from the jobs to its part of the page, in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import training
from bench.ours import train
from bench.page import SECTIONS
from bench.pairs import Measured
from bench.rows import full_cpu, full_memory
from bench.saving import SavingRow
from bench.training import Options
from tests.bench.short import use_short_rows


def in_this_process(command: Sequence[str], *, result: Path, environment: dict[str, str]) -> Measured:
    train.main(Path(command[-1]), result)
    return Measured(json.loads(result.read_text()), peak_bytes=10**9)


def test_each_way_is_trained_beside_the_peer(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_short_rows(training, tmp_path, monkeypatch)
    monkeypatch.setattr(training, "run_process", in_this_process)
    row = SavingRow("saving", "Saving", full_cpu.ROW, full_memory.ROW.ways, aim=0.5)
    found = row.measure(Options(pairs=1, updates=2, cores="all", model=str(model_folder)))
    losses = {name: figures["mean_loss"]["median"] for name, figures in found["figures"].items()}
    assert list(losses) == ["TRL", *full_memory.ROW.ways]
    assert losses["TRL"] == losses["Tenfold"]
    assert all(loss == pytest.approx(losses["Tenfold"], rel=0.03) for loss in losses.values())
    told = SECTIONS[found["kind"]](found)
    assert '| Tenfold, 8 bits | `optimizer: "adamw_8bit"` | 1.00 | 1.00 |' in told and "updates, once." in told
