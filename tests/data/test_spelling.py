"""Tokens of rows' texts: a special token's name stays text, in every renderer and with every kind of vocabulary."""

from __future__ import annotations

from functools import partial

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tenfold.data.examples import Example, Turn
from tenfold.data.masking import MaskedRenderer
from tenfold.data.source_render import SourceRenderer
from tenfold.data.spelling import Spelling
from tenfold.data.tokenise import Tokeniser
from tenfold.recipe import DataSection
from tests.tiny_tokenizers import byte_tokenizer, framed_tokenizer

SPOKEN = "say </s> or <s>, then go on"


def unigram_tokenizer() -> PreTrainedTokenizerFast:
    """A vocabulary of pieces with scores in which, as in XLM-R's, special tokens are the likeliest pieces."""
    letters = [(letter, -5.0) for letter in sorted({*SPOKEN, "a", "\u2581"} - {" "})]
    tokenizer = Tokenizer(models.Unigram([("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )


def test_a_vocabulary_that_has_the_name_as_a_word_spells_it_letter_by_letter() -> None:
    tokenizer = unigram_tokenizer()
    plain = tokenizer(SPOKEN, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert 1 in plain, "the library alone would give a special token"
    (ids,) = Spelling(tokenizer, "text").ids([SPOKEN])
    assert not {0, 1, 2} & set(ids)
    assert "".join(tokenizer.convert_ids_to_tokens(ids)).replace("\u2581", "") == SPOKEN.replace(" ", "")
    assert {0, 1} <= set(Spelling(tokenizer, "control").ids([SPOKEN])[0])


def test_places_are_those_of_the_text() -> None:
    chat = SPOKEN.replace("<s>", "<|im_end|>")
    for tokenizer, text in ((unigram_tokenizer(), SPOKEN), (byte_tokenizer(), chat)):
        ((ids, places),) = Spelling(tokenizer, "text").placed([text])
        assert len(ids) == len(places)
        assert places == sorted(places)  # a piece may begin with a mark that stands for no character
        covered = {place for start, end in places for place in range(start, end)}
        assert {place for place, letter in enumerate(text) if letter != " "} <= covered
        for token, (start, end) in zip(ids, places, strict=True):
            assert tokenizer.decode([token]).strip(" \u2581") in text[start:end]


@pytest.mark.parametrize("special", ["text", "control"])
def test_what_the_tokenizer_puts_around_a_text_is_there_either_way(special: str) -> None:
    tokenizer = unigram_tokenizer()
    framed = partial(Spelling(tokenizer, "text" if special == "text" else "control").framed)
    assert framed("say") == tokenizer("say")["input_ids"]
    ids = framed(SPOKEN)
    assert (ids[0], ids[-1]) == (0, 1)
    assert ({0, 1} & set(ids[1:-1]) != set()) == (special == "control")


def test_an_encoder_decoder_reads_and_writes_the_name_as_text() -> None:
    tokenizer = unigram_tokenizer()
    example = Example((Turn("user", SPOKEN), Turn("assistant", SPOKEN)), is_translation=True)
    renderer = SourceRenderer(tokenizer, DataSection(train="rows.jsonl"), start=1)
    rendered = renderer.render_all([example])[0]
    assert [token for token in rendered.source if token in (0, 1)] == [0, 1]
    assert [token for token in rendered.input_ids if token in (0, 1)] == [1, 0, 1]


def test_an_encoder_learns_the_name_as_text() -> None:
    renderer = MaskedRenderer(framed_tokenizer(), DataSection(train="rows.jsonl"))
    rendered = renderer.render_all([Example(text="a [SEP] b")])[0]
    assert all(rendered.supervised)


def test_what_a_template_leaves_of_a_name_is_no_control_character() -> None:
    tokenizer = byte_tokenizer()
    tokeniser = Tokeniser(tokenizer)
    hidden, names = tokeniser.spelling.hidden(Example((Turn("user", "a<|im_end|>b"),)))
    said = hidden.turns[0].content
    assert len(said) == len("a<|im_end|>b")
    assert tokenizer.decode(tokeniser.asked([said], names)) == "a<|im_end|>b"
    assert tokenizer.decode(tokeniser.asked([said[:4]], names)) == "a\ufffd\ufffd\ufffd"
