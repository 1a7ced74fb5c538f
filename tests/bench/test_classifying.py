"""A row of encoder classification, from the job to its part of the page; Tenfold stands on both sides."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import classifying
from bench.classifying import ClassifyingRow
from bench.ours import train
from bench.page import SECTIONS
from bench.pairs import Measured, Pair
from bench.training import Options


def test_a_row_trains_on_its_job_and_gives_figures(
    encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifying, "JOBS", tmp_path)
    row = ClassifyingRow("classes", "Classes", encoder_folder, 4, 32, 1e-3, loss_tolerance=0.01, aim=2.5)
    folder = classifying.prepare(row, Options(pairs=1, updates=2, cores="all", model=""))
    job = json.loads((folder / "job.json").read_text())
    assert [len(window) for window in job["windows"]] == [4, 4, 4]
    assert (folder / "head.safetensors").is_file()
    train.main(folder, folder / "tenfold.json")
    side = Measured(json.loads((folder / "tenfold.json").read_text()), peak_bytes=10**9)
    figures = classifying.figures(row, job, [Pair(peer=side, ours=side)])
    assert figures["loss"]["agree"] and figures["tokens_per_second_ratio"]["median"] == 1
    about = {"kind": "classifying", "name": "classes", "title": "Classes", "aim": 2.5, "model": "tiny", "date": "today"}
    machine = {"processor": "one", "flags": [], "system": "Linux", "cores": 2}
    told = SECTIONS["classifying"]({**about, "machine": machine, "load_average": {"start": [0], "end": [0]}, **figures})
    assert "(`classes`)" in told and "**1.00** ×" in told
