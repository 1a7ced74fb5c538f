"""A row of estimates, from its recipes to its part of the page, in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from bench import estimating
from bench.estimating import EstimatingRow, Way
from bench.ours import memory
from bench.page import SECTIONS
from bench.pairs import Measured
from bench.rows import memory_estimate
from bench.training import Options


def in_this_process(command: Sequence[str], *, result: Path, environment: dict[str, str]) -> Measured:
    memory.main(Path(command[-1]), result)
    return Measured(json.loads(result.read_text()), peak_bytes=10**9)


def test_every_way_is_asked_and_run(
    model_folder: Path, encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimating, "JOBS", tmp_path)
    monkeypatch.setattr(estimating, "run_process", in_this_process)
    ways = [
        Way(way.name, way.technique, way.tuner, [16], str(encoder_folder) if way.is_labelled else "", way.is_labelled)
        for way in memory_estimate.ROW.ways
        if way.name in ("lora", "feature_based")
    ]
    row = EstimatingRow("memory", "Memory", ways, batch_sizes=(4, 400), most_tokens=64, aim=0.15)
    found = row.measure(Options(pairs=1, updates=1, cores="all", model=str(model_folder)))
    assert [cell["way"] for cell in found["cells"]] == ["lora", "feature_based"]
    assert all(cell["estimate_gb"] > 0.1 and cell["run_gb"] > 0.1 for cell in found["cells"])
    found["cells"][0] |= {"estimate_gb": 1.0, "run_gb": 2.0, "ratio": 0.5}
    assert "| lora, 16 tokens, 4 rows | 1.00 | 2.00 | **0.50** |" in SECTIONS[found["kind"]](found)


def test_texts_are_as_long_as_asked_and_none_is_like_another(model_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    texts = list(islice(estimating.texts_of(300, model_folder), 5))
    assert len(set(texts)) == 5
    assert all(292 <= len(tokenizer(text)["input_ids"]) <= 300 for text in texts)
