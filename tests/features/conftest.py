"""A tiny decoder and a table of rows of mixed lengths to read features of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tenfold.data.prepare import Prepared, prepare
from tenfold.data.render import Renderer
from tenfold.data.sources import open_rows
from tenfold.engine.log import Log
from tenfold.features.extract import Extraction
from tenfold.models.attention import register_attention
from tenfold.models.language_model import LanguageModel, find_route
from tenfold.models.trunk import Trunk
from tenfold.recipe import DataSection
from tests.tiny_models import tiny_model
from tests.tiny_tokenizers import byte_tokenizer

CPU = torch.device("cpu")


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    """23 rows from 4 to 40 words."""
    path = tmp_path / "texts.jsonl"
    lines = [
        json.dumps({"text": " ".join(f"word{place}" for place in range(4 + number * 7 % 37))}) for number in range(23)
    ]
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return prepare(open_rows(str(path)), Renderer(byte_tokenizer(), DataSection()))


@pytest.fixture(scope="session")
def decoder() -> LanguageModel:
    register_attention()
    base = tiny_model("llama", attention="tenfold", vocab_size=512, max_position_embeddings=512)
    return LanguageModel(base, None, device=CPU, route=find_route(base, CPU))  # type: ignore[arg-type]


def extraction(model: Trunk, **changes: object) -> Extraction:
    """Return what reads features of `model`, 128 tokens at once."""
    plain = Extraction(model=lambda: model, identity="tiny", batch_tokens=128, log=Log(None))
    return replace(plain, **changes)  # type: ignore[arg-type]
