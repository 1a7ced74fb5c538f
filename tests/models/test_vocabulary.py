"""New tokens: merges learned as BPE learns them, old text cut as before, new rows started as asked."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from tenfold.errors import ModelError
from tenfold.models.load import load_tokenizer
from tenfold.models.vocabulary import _learned_merges, extend_embeddings, extended_tokenizer, fertility
from tests.command import Desk
from tests.conftest import save_tiny_model
from tests.tiny_models import tiny_model

TEXTS = ["lowest lower newer wider newest"] * 3 + ["the lowest newest tower"]


@pytest.fixture
def tokenizer(model_folder: Path):  # type: ignore[no-untyped-def]
    return load_tokenizer(model_folder)


def test_merges_are_those_of_the_papers_example() -> None:
    """Sennrich et al. 2016, algorithm 1: low 5, lower 2, newest 6, widest 3, each with an end mark."""
    counts = {"low": 5, "lower": 2, "newest": 6, "widest": 3}
    words = Counter({(*word, "</w>"): count for word, count in counts.items()})
    found = ["".join(pair) for pair in _learned_merges(words, 4, known=set())]
    # e+s, s+t and t+</w> all occur 9 times, then l+o and o+w 7 times: ours takes the last of them in the alphabet
    assert found == ["t</w>", "st</w>", "est</w>", "ow"]


def test_old_pieces_stay_pieces_and_new_ones_join_them(tokenizer) -> None:  # type: ignore[no-untyped-def]
    new = extended_tokenizer(tokenizer, TEXTS, num_tokens=12)
    assert len(new) == len(tokenizer) + 12
    assert fertility(new, TEXTS).tokens < fertility(tokenizer, TEXTS).tokens
    for text in (*TEXTS, "ünd äß 漢字 \t x", "0123"):
        assert new.decode(new(text, add_special_tokens=False)["input_ids"]) == text
    assert (
        new("QQ 77", add_special_tokens=False)["input_ids"] == tokenizer("QQ 77", add_special_tokens=False)["input_ids"]
    )
    assert new.eos_token_id == tokenizer.eos_token_id
    turns = [{"role": "user", "content": "hi"}]
    assert new.apply_chat_template(turns, tokenize=False) == tokenizer.apply_chat_template(turns, tokenize=False)


@pytest.mark.parametrize("init", ["pieces", "mean", "random"])
@pytest.mark.parametrize("tied", [True, False])
def test_old_answers_stay_and_new_rows_start_as_asked(init: str, tied: bool, tokenizer) -> None:  # type: ignore[no-untyped-def]
    new = extended_tokenizer(tokenizer, TEXTS, num_tokens=8)
    base = tiny_model("llama", vocab_size=len(tokenizer), tie_word_embeddings=tied)
    ids = torch.tensor([tokenizer("lowest", add_special_tokens=False)["input_ids"]])
    old_rows = base.get_input_embeddings().weight.detach().clone()
    before = base(ids).logits
    extend_embeddings(base, tokenizer, new, init=init, seed=0)  # type: ignore[arg-type]
    assert torch.equal(base(ids).logits[..., : len(tokenizer)], before)
    for layer in (base.get_input_embeddings(), base.get_output_embeddings()):
        assert layer.weight.shape[0] == len(new)
    token = len(tokenizer)
    piece = new.convert_ids_to_tokens(token)
    pieces = [tokenizer.convert_tokens_to_ids(each.value) for each in tokenizer.backend_tokenizer.model.tokenize(piece)]
    row = base.get_input_embeddings().weight[token]
    expected = {"pieces": old_rows[pieces].mean(0), "mean": old_rows.mean(0)}
    if init in expected:
        torch.testing.assert_close(row, expected[init])
    else:
        assert not torch.equal(row, base.get_input_embeddings().weight[token + 1])


def test_a_tokenizer_that_is_no_bpe_is_refused(tokenizer) -> None:  # type: ignore[no-untyped-def]
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    other = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram([("a", 0.0), ("b", -1.0)])))
    with pytest.raises(ModelError, match=r"Unigram(.|\n)*allowed: a fast BPE"):
        extended_tokenizer(other, TEXTS, num_tokens=3)
    with pytest.raises(ModelError, match="occur twice"):
        extended_tokenizer(tokenizer, ["a"], num_tokens=3)


def test_the_command_writes_a_model_that_trains(desk: Desk) -> None:
    desk.write("welsh.jsonl", "".join(f'{{"text": "mae hawl gan bawb {number % 9} newydd"}}\n' for number in range(40)))
    save_tiny_model(desk.folder / "other")
    done = desk.tenfold("extend", "other", "--data", "welsh.jsonl", "--out", "wider", "--tokens", "20")
    assert done.code == 0 and "tokens per word" in done.out, done.text
    recipe = desk.recipe(model={"name": "wider"}, tuner={"kind": "full"}, data={"train": "welsh.jsonl"})
    assert desk.tenfold("run", recipe).code == 0
    refused = desk.tenfold("extend", "other", "--data", "welsh.jsonl", "--out", "wider")
    assert refused.code == 2 and "exists already" in refused.err
    assert "found 'piecs'" in desk.tenfold("extend", "x", "--data", "y", "--out", "z", "--init", "piecs").err


def test_new_tokens_come_only_from_the_rows_asked_for(desk: Desk) -> None:
    save_tiny_model(desk.folder / "other")
    rows = [{"text": f"lowest newest {n}", "language": "a"} for n in range(9)]
    rows += [{"text": f"zqzq zqzqzq {n}", "language": "b"} for n in range(9)]
    (desk.folder / "both.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = ("extend", "other", "--data", "both.jsonl", "--tokens", "8")
    for language, expected in (("a", False), ("b", True)):
        out = desk.folder / language
        done = desk.tenfold(*asked, "--out", language, "--where", f"language={language}")
        assert done.code == 0, done.err
        added = load_tokenizer(out).get_vocab().keys() - load_tokenizer(desk.folder / "other").get_vocab().keys()
        assert added and any("zq" in token for token in added) == expected
    assert "no row whose language is c" in desk.tenfold(*asked, "--out", "c", "--where", "language=c").err
