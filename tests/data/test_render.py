"""Rendering: the tokens are the chat template's own, and the mask is what generation would have to produce."""

from __future__ import annotations

import random
from itertools import compress

import pytest
from transformers import PreTrainedTokenizerFast
from transformers.tokenization_python import PreTrainedTokenizer

from tenfold.data.examples import Example, Turn
from tenfold.data.fields import RowFault
from tenfold.data.render import Rendered, Renderer
from tenfold.data.rendered import each_or_fault
from tenfold.errors import DataError
from tenfold.recipe import DataSection
from tests.tiny_tokenizers import CHATML, ENDLESS, FORGETFUL, HARMONY, LLAMA2, PHI, byte_tokenizer

PIECES = ("yes", " no\n", "<|im_end|>", "ünï😀", "  ", "\n\n", "assistant", "{x: 1}", ".", "<s>")


def conversation(rng: random.Random, *, system: bool = True) -> Example:
    def text() -> str:
        return "x" + "".join(rng.choices(PIECES, k=rng.randint(0, 6)))

    turns = [Turn("system", text())] if system and rng.random() < 0.5 else []
    for _ in range(rng.randint(1, 4)):
        turns += [Turn("user", text()), Turn("assistant", text(), train=rng.random() < 0.8)]
    return Example(tuple(turns))


def messages(example: Example) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in example.turns]


def learned(tokenizer: PreTrainedTokenizerFast, rendered: Rendered) -> str:
    return str(tokenizer.decode(list(compress(rendered.input_ids, rendered.supervised))))


@pytest.mark.parametrize("template", [CHATML, LLAMA2, PHI], ids=["chatml", "llama2", "phi"])
@pytest.mark.parametrize("trim_offsets", [False, True])
def test_tokens_equal_the_chat_templates_own(template: str, trim_offsets: bool) -> None:
    tokenizer = byte_tokenizer(chat_template=template, trim_offsets=trim_offsets)
    renderer = Renderer(tokenizer, DataSection(special_tokens="control"))
    for seed in range(60):
        example = conversation(random.Random(seed), system=template is not LLAMA2)
        expected = tokenizer.apply_chat_template(messages(example), tokenize=True, return_dict=False)
        assert renderer.render(example).input_ids == expected


@pytest.mark.parametrize("trim_offsets", [False, True])
def test_mask_is_each_trained_reply_with_its_end_token_and_nothing_else(trim_offsets: bool) -> None:
    tokenizer = byte_tokenizer(trim_offsets=trim_offsets)
    renderer = Renderer(tokenizer, DataSection())
    for seed in range(60):
        example = conversation(random.Random(seed))
        replies = [turn.content for turn in example.turns if turn.role == "assistant" and turn.train]
        rendered = renderer.render(example)
        assert learned(tokenizer, rendered) == "".join(f"{reply}<|im_end|>" for reply in replies)
        assert rendered.end_supervised


def test_mask_under_templates_of_other_shapes() -> None:
    pair = Example((Turn("user", "a"), Turn("assistant", "b c"), Turn("user", "d"), Turn("assistant", "e")))
    expected = {LLAMA2: " b c<|endoftext|> e<|endoftext|>", PHI: "b c<|im_end|>e<|im_end|>"}
    for template, text in expected.items():
        tokenizer = byte_tokenizer(chat_template=template)
        rendered = Renderer(tokenizer, DataSection()).render(pair)
        assert learned(tokenizer, rendered) == text
        assert rendered.end_supervised


@pytest.mark.parametrize("reply", ["yes", "a", "in", "final", "im_end", "e", "message", " x \n", "<|channel|>"])
def test_no_reply_is_mistaken_for_a_piece_of_the_template(reply: str) -> None:
    openings = {HARMONY: "<|channel|>final<|message|>", PHI: "", CHATML: "", FORGETFUL: "<think>\n\n</think>\n\n"}
    for template, opening in openings.items():
        tokenizer = byte_tokenizer(chat_template=template)
        special = ["<|im_start|>", "<|im_end|>", "<|channel|>", "<|message|>"]
        tokenizer.add_special_tokens({"additional_special_tokens": special})
        rendered = Renderer(tokenizer, DataSection()).render(Example((Turn("user", reply), Turn("assistant", reply))))
        said = reply.strip() if template is HARMONY else reply
        assert learned(tokenizer, rendered) == f"{opening}{said}<|im_end|>"
        assert rendered.end_supervised
    endless = byte_tokenizer(chat_template=ENDLESS)
    rendered = Renderer(endless, DataSection()).render(Example((Turn("user", reply), Turn("assistant", reply))))
    assert learned(endless, rendered).strip() == reply.strip()


def test_template_whose_closing_is_not_found_is_marked() -> None:
    """It closes a reply by the reply's own words, so what follows the text cannot be told."""
    fickle = CHATML.replace("<|im_end|>", "{{ message['content'][:1] }}<|im_end|>")
    rendered = Renderer(byte_tokenizer(chat_template=fickle), DataSection()).render(
        Example((Turn("user", "a"), Turn("assistant", "b")))
    )
    assert not rendered.end_supervised


def test_template_that_ends_replies_with_no_special_token_is_marked() -> None:
    tokenizer = byte_tokenizer(chat_template=ENDLESS)
    rendered = Renderer(tokenizer, DataSection()).render(Example((Turn("user", "a"), Turn("assistant", "Well 😀"))))
    assert not rendered.end_supervised
    assert learned(tokenizer, rendered) == "Well 😀"


def test_template_that_rewrites_earlier_turns_needs_train_on_last() -> None:
    tokenizer = byte_tokenizer(chat_template=FORGETFUL)
    talk = Example((Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"), Turn("assistant", "d")))
    with pytest.raises(RowFault, match="rewrites turn 2") as fault:
        Renderer(tokenizer, DataSection()).render(talk)
    assert "data.train_on: last" in fault.value.remedy
    rendered = Renderer(tokenizer, DataSection(train_on="last")).render(talk)
    assert learned(tokenizer, rendered) == "<think>\n\n</think>\n\nd<|im_end|>"


def test_train_on_last_learns_the_last_reply_only() -> None:
    tokenizer = byte_tokenizer()
    talk = Example((Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"), Turn("assistant", "d")))
    assert learned(tokenizer, Renderer(tokenizer, DataSection(train_on="last")).render(talk)) == "d<|im_end|>"


def test_system_text_is_inserted_only_where_a_row_brings_none() -> None:
    tokenizer = byte_tokenizer()
    renderer = Renderer(tokenizer, DataSection(system="Be brief."))
    bare = Example((Turn("user", "a"), Turn("assistant", "b")))
    own = Example((Turn("system", "Be long."), *bare.turns))
    assert "system\nBe brief." in tokenizer.decode(renderer.render(bare).input_ids)
    assert "Be brief." not in tokenizer.decode(renderer.render(own).input_ids)


def test_system_text_goes_to_the_user_where_the_template_has_no_system_turn() -> None:
    tokenizer = byte_tokenizer(chat_template=LLAMA2)
    renderer = Renderer(tokenizer, DataSection(system="Be brief."))
    rendered = renderer.render(Example((Turn("user", "a"), Turn("assistant", "b"))))
    assert tokenizer.decode(rendered.input_ids) == "<s>[INST] Be brief.\n\na [/INST] b<|endoftext|>"
    assert learned(tokenizer, rendered) == " b<|endoftext|>"


def test_plain_template_joins_prompt_and_completion_and_ends_with_eos() -> None:
    tokenizer = byte_tokenizer(chat_template=None)
    renderer = Renderer(tokenizer, DataSection())
    pair = Example((Turn("user", "Q:"), Turn("assistant", " yes")), separator="")
    assert tokenizer.decode(renderer.render(pair).input_ids) == "Q: yes<|endoftext|>"
    assert learned(tokenizer, renderer.render(pair)) == " yes<|endoftext|>"
    talk = Example((Turn("system", "S"), *pair.turns, Turn("user", "U"), Turn("assistant", "V")))
    text = "S\nQ:\n yes<|endoftext|>\nU\nV<|endoftext|>"
    assert tokenizer.decode(renderer.render(talk).input_ids) == text
    assert learned(tokenizer, renderer.render(talk)) == " yes<|endoftext|>V<|endoftext|>"


def test_raw_text_is_supervised_but_for_its_first_token_and_split_without_loss_or_overlap() -> None:
    tokenizer = byte_tokenizer()
    for length in range(1, 30):
        example = Example(text="q" * length)
        renderer = Renderer(tokenizer, DataSection(max_length=7))
        whole = renderer.render(example)
        assert whole.input_ids == [*tokenizer("q" * length)["input_ids"], tokenizer.eos_token_id]
        pieces = renderer.cut(example, whole)
        rejoined = [token for piece in pieces for token in piece.input_ids]
        left_over = len(whole.input_ids) % 7 == 1  # a single token, with nothing before it to predict it
        assert rejoined == whole.input_ids[: len(whole.input_ids) - left_over]
        for piece in pieces:
            assert piece.supervised == [False] + [True] * (len(piece.input_ids) - 1)
            assert len(piece.input_ids) <= 7 and not piece.truncated


def test_beginning_token_stands_where_the_tokenizer_puts_it() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = byte_tokenizer(chat_template=None)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.bos_token_id)]
    )
    renderer = Renderer(tokenizer, DataSection())
    pair = Example((Turn("user", "Q:"), Turn("assistant", " yes")), separator="")
    assert tokenizer.decode(renderer.render(pair).input_ids) == "<s>Q: yes<|endoftext|>"
    assert learned(tokenizer, renderer.render(pair)) == " yes<|endoftext|>"
    assert renderer.prompt(pair) == renderer.render(pair).input_ids[: len(renderer.prompt(pair))]
    assert learned(tokenizer, renderer.render(Example(text="hello"))) == "hello<|endoftext|>"


@pytest.mark.parametrize("template", [CHATML, LLAMA2, PHI, None])
def test_prompt_is_the_beginning_of_the_rendered_row(template: str | None) -> None:
    renderer = Renderer(byte_tokenizer(chat_template=template), DataSection())
    for seed in range(30):
        example = conversation(random.Random(seed), system=template is not LLAMA2)
        prompt, rendered = renderer.prompt(example), renderer.render(example)
        assert rendered.input_ids[: len(prompt)] == prompt
        assert renderer.reference(example) == example.turns[-1].content


def test_cut_flags_what_was_lost() -> None:
    example = Example((Turn("user", "aaaa"), Turn("assistant", "bbbb")))
    tokenizer = byte_tokenizer()
    whole = Renderer(tokenizer, DataSection()).render(example)
    length = len(whole.input_ids)  # the last token is a line break outside the loss
    flags = {}
    for limit in (length, length - 1, length - 2):
        renderer = Renderer(tokenizer, DataSection(max_length=limit))
        (cut,) = renderer.cut(example, renderer.render(example))
        flags[length - limit] = (len(cut.input_ids) - limit, cut.truncated, cut.response_cut)
    assert flags == {0: (0, False, False), 1: (0, True, False), 2: (0, True, True)}


def test_stop_tokens_are_the_end_of_text_and_the_templates_own() -> None:
    tokenizer = byte_tokenizer()
    ends = {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")}
    assert Renderer(tokenizer, DataSection()).stop_ids == ends
    assert Renderer(byte_tokenizer(chat_template=ENDLESS), DataSection()).stop_ids == {tokenizer.eos_token_id}


def test_fingerprint_follows_what_changes_tokens_and_nothing_else() -> None:
    same = Renderer(byte_tokenizer(), DataSection()).fingerprint
    tokenizer = byte_tokenizer()
    tokenizer(["a", "bb"], truncation=True, padding=True, max_length=1)
    assert Renderer(tokenizer, DataSection(max_rows=3, train="x.jsonl")).fingerprint == same
    larger = byte_tokenizer()
    larger.add_tokens(["kitchen"])
    other_end = byte_tokenizer()
    other_end.eos_token = "<|im_end|>"
    other_start = byte_tokenizer()
    other_start.bos_token = "<|im_start|>"
    other_padding = byte_tokenizer()
    other_padding.pad_token = "<|im_end|>"
    others = [
        Renderer(larger, DataSection()),
        *(Renderer(other, DataSection()) for other in (other_end, other_start, other_padding)),
        Renderer(byte_tokenizer(chat_template=PHI), DataSection()),
        *(
            Renderer(byte_tokenizer(), DataSection.model_validate({key: value}))
            for key, value in {"max_length": 9, "train_on": "last", "system": "S", "template": "plain"}.items()
        ),
    ]
    assert len({same, *(other.fingerprint for other in others)}) == 10


@pytest.mark.parametrize(
    ("template", "settings", "message"),
    [
        (None, {"template": "chat"}, "chat, but the tokenizer has no chat template"),
        (CHATML, {"template": "plain", "chat_template": CHATML}, "plain leaves data.chat_template unused"),
        (CHATML, {"chat_template": "{% for %}"}, "data.chat_template: not valid Jinja: line 1"),
    ],
)
def test_template_settings_that_cannot_work_are_told(
    template: str | None, settings: dict[str, str], message: str
) -> None:
    renderer = Renderer(byte_tokenizer(chat_template=template), DataSection.model_validate(settings))
    with pytest.raises(DataError, match=message):
        renderer.render(Example((Turn("user", "a"), Turn("assistant", "b"))))


def test_several_templates_without_a_default_are_told() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = {"short": CHATML, "long": PHI}
    with pytest.raises(DataError, match=r"which chat template\?(.|\n)*set data.chat_template"):
        Renderer(tokenizer, DataSection()).render(Example((Turn("user", "a"), Turn("assistant", "b"))))


def test_tokenizer_without_end_token_is_told() -> None:
    tokenizer = byte_tokenizer(chat_template=None)
    tokenizer.eos_token = None
    with pytest.raises(DataError, match="no end-of-sequence token"):
        Renderer(tokenizer, DataSection()).render(Example(text="a"))


def test_turns_that_the_template_refuses_are_a_fault_of_the_row() -> None:
    picky = "{% if messages|length > 2 %}{{ raise_exception('one question only') }}{% endif %}" + CHATML
    renderer = Renderer(byte_tokenizer(chat_template=picky), DataSection())
    talk = Example((Turn("user", "a"), Turn("assistant", "b"), Turn("user", "c"), Turn("assistant", "d")))
    with pytest.raises(RowFault, match="refuses the turns: one question only"):
        renderer.render(talk)


class LetterTokenizer(PreTrainedTokenizer):  # type: ignore[misc]
    """A slow tokenizer: a token a character, or with `pairs` a token for each two."""

    def __init__(self, width: int = 1) -> None:
        self.width = width
        super().__init__(eos_token="<e>", chat_template=CHATML.replace("<|im_end|>", "<e>").replace("\n", " "))

    @property
    def vocab_size(self) -> int:
        return 100_000

    def get_vocab(self) -> dict[str, int]:
        return dict(self.added_tokens_encoder)

    def _tokenize(self, text: str, **_: object) -> list[str]:
        return [text[start : start + self.width] for start in range(0, len(text), self.width)]

    def _convert_token_to_id(self, token: str) -> int:
        return sum(ord(letter) * 300**place for place, letter in enumerate(token))

    def _convert_id_to_token(self, index: int) -> str:
        return chr(index % 300) + (chr(index // 300) if index >= 300 else "")


def test_tokenizer_without_offsets_is_cut_at_borders_or_refused() -> None:
    example = Example((Turn("user", "abc"), Turn("assistant", "xyz")))
    tokenizer = LetterTokenizer()
    rendered = Renderer(tokenizer, DataSection()).render(example)
    expected = tokenizer.apply_chat_template(messages(example), tokenize=True, return_dict=False)
    assert rendered.input_ids == expected
    assert list(compress(rendered.input_ids, rendered.supervised)) == [*map(ord, "xyz"), tokenizer.eos_token_id]
    with pytest.raises(DataError, match="LetterTokenizer gives no offsets"):
        Renderer(LetterTokenizer(width=2), DataSection()).render(example)


def test_faults_stand_where_their_rows_do() -> None:
    def halved(number: int, name: str) -> str:
        if number % 2:
            raise RowFault(f"{name} is odd")
        return name * (number // 2)

    made = each_or_fault(halved, [2, 3, 4], "abc")
    assert [str(each) for each in made] == ["a", "b is odd", "cc"] and isinstance(made[1], RowFault)
