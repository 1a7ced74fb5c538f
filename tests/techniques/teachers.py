"""Teachers for the tests of distillation: tiny models, wider and deeper than the students, that answer the rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tenfold.paths import cache_at
from tenfold.recipe import parse_recipe
from tenfold.running import run
from tests.conftest import COLOURS
from tests.tiny_models import tiny_model
from tests.tiny_tokenizers import SENTENCES, byte_tokenizer

ROWS = [
    {"prompt": f"lamp {number} {COLOURS[number % 8]}", "completion": f"set {COLOURS[number % 8]}"}
    for number in range(64)
]


def teacher_model(folder: Path, *, sentences: tuple[str, ...] = SENTENCES) -> Path:
    """Save a random model of four layers, wider than the students, with a tokenizer trained on `sentences`."""
    tokenizer = byte_tokenizer(sentences=sentences)
    sizes = {"num_hidden_layers": 4, "hidden_size": 48, "num_attention_heads": 6, "max_position_embeddings": 512}
    model = tiny_model("llama", seed=5, vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **sizes)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def taught(folder: Path, base: Path) -> Path:
    """Train the model in `base` until it answers the rows, and return the folder of the run."""
    rows = folder / "rows.jsonl"
    rows.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    tree: dict[str, Any] = {
        "model": str(base),
        "tuner": "full",
        "data": {"train": str(rows), "test_share": 0.2},
        "optim": {"batch_size": 16, "epochs": 15, "learning_rate": 5e-3},
        "evaluation": {"max_rows": 4, "retention": False},
        "runtime": {"precision": "fp32", "device": "cpu", "threads": 1},
        "output": str(folder / "run"),
    }
    with cache_at(folder / "cache"):
        return run(parse_recipe(tree)).folder
