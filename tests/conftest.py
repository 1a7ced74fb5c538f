"""One thread, a cache of its own for every test, and a tiny model folder with rows that it can learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tenfold.recipe import Recipe, parse_recipe
from tests.command import Desk
from tests.tiny_models import tiny_bert, tiny_model
from tests.tiny_tokenizers import byte_tokenizer, framed_tokenizer

COLOURS = ("red", "green", "blue", "grey", "pink", "brown", "black", "white")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two test processes on two cores: a second thread each would only make them wait for one another."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("TENFOLD_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a byte-level tokenizer, saved as Hugging Face does."""
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny-llama")


def save_tiny_model(folder: Path, *, seed: int = 0, family: str = "llama") -> Path:
    tokenizer = byte_tokenizer()
    model = tiny_model(
        family, seed=seed, vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, max_position_embeddings=512
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT with a byte-level tokenizer that frames its texts, saved as Hugging Face does."""
    folder = tmp_path_factory.mktemp("encoder") / "tiny-bert"
    tokenizer = framed_tokenizer()
    tiny_bert(vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def rows_file(tmp_path: Path) -> Path:
    """64 prompts, each with a short answer that follows from it."""
    path = tmp_path / "rows.jsonl"
    rows = [
        {"prompt": f"lamp {number} {COLOURS[number % 8]}", "completion": f"set {COLOURS[number % 8]}"}
        for number in range(64)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def settings(model_folder: Path, rows_file: Path, tmp_path: Path) -> dict[str, dict[str, object] | str]:
    """A recipe's tree for the tiny model: a few quick updates in fp32."""
    return {
        "model": {"name": str(model_folder)},
        "tuner": {"kind": "lora", "rank": 4},
        "data": {"train": str(rows_file), "test_share": 0.2},
        "optim": {"batch_size": 8, "max_updates": 6, "learning_rate": 1e-2},
        "evaluation": {"max_rows": 6, "max_new_tokens": 6, "retention": False},
        "runtime": {"precision": "fp32", "device": "cpu", "checkpoint_every": 2},
        "output": str(tmp_path / "out"),
    }


@pytest.fixture
def recipe(settings: dict[str, dict[str, object] | str]) -> Recipe:
    return parse_recipe(settings)


@pytest.fixture
def desk(
    settings: dict[str, Any],
    tmp_path: Path,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Desk:
    """A working folder with `tiny-llama`, `rows.jsonl` and recipes over them, where commands are given."""
    (tmp_path / "tiny-llama").symlink_to(model_folder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    data = {**settings["data"], "train": "rows.jsonl"}
    tree = {**settings, "model": {"name": "tiny-llama"}, "data": data, "output": "out"}
    return Desk(tmp_path, tree, monkeypatch, capsys)
