"""A row of feature extraction, from the job to its part of the page; Tenfold stands on both sides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench import encoding
from bench.encoding import EncodingRow
from bench.ours import encode
from bench.page import SECTIONS
from bench.pairs import Measured
from bench.training import Options


def in_this_process(command: Sequence[str], *, result: Path, environment: dict[str, str]) -> Measured:
    encode.main(Path(command[-1]), result)
    return Measured(json.loads(result.read_text()), peak_bytes=10**9)


def test_a_row_reads_its_texts_on_both_sides_and_gives_figures(
    encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [text[:100] for text in encoding._texts()]
    assert len(texts) > 500 and max(map(len, texts)) > 4 * min(map(len, texts)), "of mixed lengths"
    monkeypatch.setattr(encoding, "JOBS", tmp_path)
    monkeypatch.setattr(encoding, "_texts", lambda: list(dict.fromkeys(texts))[:120])
    monkeypatch.setattr(encoding, "run_process", in_this_process)
    row = EncodingRow("features", "Features", encoder_folder, dtype="float32", precision="fp32", batch_size=8)
    figures = row.measure(Options(pairs=1, updates=1, cores="all", model=""))
    assert figures["rows"] == 120 and figures["least_cosine"] == 1.0
    assert figures["peak_memory_ratio"]["median"] == 1
    assert np.load(tmp_path / "features" / "tenfold.npy").shape[0] == 120
    assert "(`features`)" in SECTIONS[figures["kind"]](figures)
