"""Tokens of stretches are those of the whole text, and their places too."""

from __future__ import annotations

from bisect import bisect_right

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tenfold.data.templates import SpannedText
from tenfold.data.tokenise import Tokeniser

TEXTS = (
    "<|a|>system\nBe kind.<|b|>\n<|a|>user\nhello hello  there\n\n<|b|>\n<|a|>assistant\n hello<|b|>\n",
    "<|a|>user\nné é\N{COMBINING ACUTE ACCENT} 日本語 <|<|b|><|b|>",
    "hello <|b|> hello",
    "<|b|>",
    "",
)


def byte_level(*, prefix_space: bool = False, strips: bool = False, normalizer: object = None) -> Tokeniser:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {letter: place for place, letter in enumerate(alphabet)}
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "hello"), ("Ċ", "Ċ"), ("Ċ", "hello")]
    for pair in merges:
        vocab["".join(pair)] = len(vocab)
    backend = Tokenizer(models.BPE(vocab, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    backend.decoder = decoders.ByteLevel()
    if normalizer is not None:
        backend.normalizer = normalizer
    backend.add_special_tokens([AddedToken(text, normalized=False, lstrip=strips) for text in ("<|a|>", "<|b|>")])
    return Tokeniser(PreTrainedTokenizerFast(tokenizer_object=backend))


@pytest.mark.parametrize(
    ("tokeniser", "is_cut"),
    [
        (byte_level(), True),
        (byte_level(normalizer=normalizers.NFC()), True),
        (byte_level(prefix_space=True), False),
        (byte_level(strips=True), False),
        (byte_level(normalizer=normalizers.Prepend("hello")), False),
    ],
    ids=["plain", "nfc", "prefix", "strips", "prepends"],
)
def test_stretches_give_the_tokens_and_places_of_the_whole(tokeniser: Tokeniser, is_cut: bool) -> None:
    assert bool(tokeniser._cut("x<|a|>y")[1:]) == is_cut
    placed = list(tokeniser.placed([SpannedText((text,)) for text in TEXTS]))
    for text, (ids, ends) in zip(TEXTS, placed, strict=True):
        whole = tokeniser.tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        assert ids == whole.ids
        places = range(-1, len(text) + 1)
        assert [ends.until(at) for at in places] == [
            bisect_right([end for _, end in whole.offsets], at) for at in places
        ]


def test_a_stretch_that_rows_share_is_tokenised_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokeniser, seen = byte_level(), []
    encode = Tokenizer.encode_batch_fast

    class Counting:
        def __getattr__(self, name: str) -> object:
            return getattr(tokeniser.tokenizer.backend_tokenizer, name)

        def encode_batch_fast(self, texts: list[str], **options: bool) -> object:
            seen.extend(texts)
            return encode(tokeniser.tokenizer.backend_tokenizer, texts, **options)

    monkeypatch.setattr(Tokeniser, "_encoder", Counting())
    list(tokeniser.placed([SpannedText((f"<|a|>system<|b|><|a|>hello {number}<|b|>",)) for number in range(3)]))
    assert seen == ["system", "hello 0", "hello 1", "hello 2"]
