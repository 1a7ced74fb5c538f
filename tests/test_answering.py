"""What an artifact answers and scores: it stops where its template says, and judges whole replies only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tenfold.answering import evaluate_rows, predict_rows
from tenfold.errors import DataError
from tenfold.recipe import parse_recipe
from tenfold.running import run
from tests.tiny_models import tiny_model
from tests.tiny_tokenizers import CHATML, byte_tokenizer

Settings = dict[str, Any]


def save_model_with_its_own_end(folder: Path) -> None:
    """Save a tiny model whose template ends a turn with a token that is in no list but the template."""
    tokenizer = byte_tokenizer(chat_template=CHATML.replace("<|im_end|>", "<|stop|>"))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|stop|>"]})
    model = tiny_model("llama", vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def test_answers_end_where_the_template_ends_a_turn(settings: Settings, tmp_path: Path, rows_file: Path) -> None:
    save_model_with_its_own_end(tmp_path / "model")
    rows = [{"prompt": f"lamp {number}", "completion": "set red"} for number in range(64)]
    rows_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = {
        "model": {"name": str(tmp_path / "model")},
        "tuner": {"kind": "full"},
        "optim": {"batch_size": 8, "max_updates": 30, "epochs": 9, "learning_rate": 3e-3},
        "evaluation": {**settings["evaluation"], "max_new_tokens": 20, "metrics": ["exact_match"]},
    }
    artifact = run(parse_recipe({**settings, **changes}))
    score = artifact.scorecard.score("instruction", "main")
    assert score is not None and score.primary.value == 1.0
    again = evaluate_rows(artifact.folder, data=str(rows_file), max_rows=4, base=None)
    assert again.primary.value == 1.0
    [line] = predict_rows(artifact.folder, prompts=["lamp 5"], data=None, out=None, max_new_tokens=20, base=None)
    assert json.loads(line) == {"prompt": "lamp 5", "response": "set red"}
    [line] = predict_rows(artifact.folder, prompts=["lamp 5"], data=None, out=None, max_new_tokens=2, base=None)
    assert json.loads(line)["cut"] is True, "it had more to say"


def test_rows_whose_reply_is_cut_are_not_scored(settings: Settings, tmp_path: Path) -> None:
    artifact = run(parse_recipe({**settings, "data": {**settings["data"], "max_length": 60}}))
    path = tmp_path / "long.jsonl"
    rows = [{"prompt": "lamp " + "x" * length, "completion": "set red"} for length in (1, 70, 80)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"in 2 of 3 rows a reply is cut: long.jsonl, line 2, long.jsonl, line 3"):
        evaluate_rows(artifact.folder, data=str(path), max_rows=None, base=None)


def test_rows_without_a_token_in_the_loss_are_scored_by_their_answers_alone(settings: Settings, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]
    path = tmp_path / "silent.jsonl"
    path.write_text(json.dumps({"messages": turns}) + "\n")
    artifact = run(parse_recipe(settings))
    score = evaluate_rows(artifact.folder, data=str(path), max_rows=None, base=None)
    assert [name for name in score.measures if name.startswith("response")] == []
