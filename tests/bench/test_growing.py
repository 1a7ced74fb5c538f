"""A row of growth, from its recipes to its part of the page, in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from bench import growing
from bench.growing import GrowingRow, exponent
from bench.ours import grow
from bench.page import SECTIONS
from bench.pairs import Measured
from bench.shapes import SHAPES, random_model
from bench.training import Options

TINY = {"hidden": 16, "inner": 32, "layers": 2, "heads": 4, "key_heads": 2}


def in_this_process(command: Sequence[str], *, result: Path, environment: dict[str, str]) -> Measured:
    grow.main(Path(command[-1]), result)
    return Measured(json.loads(result.read_text()), peak_bytes=10**9)


def short_conversations(folder: Path, count: int, settings: object) -> None:
    """Write rows that the tiny tokenizer, with a token for each byte, leaves short."""
    folder.mkdir()
    with (folder / "tenfold.jsonl").open("w") as file:
        for number in range(count):
            turns = {"user": f"Say {number}", "assistant": "Yes"}
            messages = [{"role": role, "content": content} for role, content in turns.items()]
            file.write(json.dumps({"messages": messages}) + "\n")


def test_every_cell_is_measured_and_told(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing, "JOBS", tmp_path)
    monkeypatch.setattr(growing, "run_process", in_this_process)
    monkeypatch.setattr(growing, "write_job", short_conversations)
    monkeypatch.setitem(SHAPES, "tiny", TINY)  # type: ignore[arg-type]
    row = GrowingRow("growth", "Growth", lengths=(16, 32), rows=(20, 40), shapes=("tiny",), tokens=64, row_length=500)
    found = row.measure(Options(pairs=1, updates=1, cores="all", model=str(model_folder)))
    sizes = {axis: [cell["size"] for cell in cells] for axis, cells in found["cells"].items()}
    assert sizes["length"] == [16, 32] and sizes["rows"] == [20, 40]
    assert 5_000 < sizes["parameters"][0] < 50_000
    assert all(cell["tokens_per_cpu_second"] > 0 for cells in found["cells"].values() for cell in cells)
    found["cells"]["parameters"] *= 2
    found["cells"]["parameters"][1] = {key: 2 * value for key, value in found["cells"]["parameters"][0].items()}
    told = SECTIONS[found["kind"]](found)
    assert "| exponent | 1.00 | 1.00 | 1.00 | 1.00 |" in told and "| tokens a row | tokens a CPU second |" in told


def test_an_exponent_is_that_of_the_power() -> None:
    assert exponent([1, 10, 100], [3, 300, 30_000]) == pytest.approx(2)
    assert exponent([128, 512], [7, 7]) == pytest.approx(0)


def test_a_random_model_has_its_shape_and_the_tokenizer_beside_it(model_folder: Path, tmp_path: Path) -> None:
    folder = random_model(tmp_path / "tiny", TINY, tokenizer=model_folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert model.dtype == torch.bfloat16 and len(model.model.layers) == 2
    assert model.config.vocab_size == model.get_input_embeddings().num_embeddings
    assert (folder / "tokenizer.json").is_file() and torch.get_default_dtype() == torch.float32
    assert random_model(folder, {}, tokenizer=model_folder) == folder, "what is there stays"
