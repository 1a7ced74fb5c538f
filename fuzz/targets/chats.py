"""Chat templates, and what is said in chats."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

from transformers import PreTrainedTokenizerBase

from fuzz.promise import Target
from tenfold.data.examples import Example, Turn
from tenfold.data.fields import RowFault
from tenfold.data.render import Renderer
from tenfold.recipe import DataSection
from tests.tiny_tokenizers import CHATML, byte_tokenizer

_TALK = (Turn("system", "be brief"), Turn("user", "a question"), Turn("assistant", "an answer"))


@cache
def _tokenizer() -> PreTrainedTokenizerBase:
    return byte_tokenizer(chat_template=CHATML)


def _template(content: bytes) -> None:
    template = content.decode(errors="replace")
    renderer = Renderer(_tokenizer(), DataSection(train="rows.jsonl", chat_template=template or None))
    for turns in (_TALK, _TALK[1:]):
        with suppress(RowFault):
            renderer.render(Example(turns))
            renderer.prompt(Example(turns))


@cache
def _renderers() -> tuple[Renderer, ...]:
    return tuple(Renderer(_tokenizer(), DataSection(train="rows.jsonl", template=kind)) for kind in ("chat", "plain"))


def _said(content: bytes) -> None:
    """Render a chat of what the input says, turn by turn: its texts add no control token to the template's own."""
    texts = content.decode(errors="replace").split("\x00")[:8]
    turns = tuple(Turn("assistant" if number % 2 else "user", text) for number, text in enumerate(texts))
    turns = turns if len(turns) % 2 == 0 else (*turns, Turn("assistant", "yes"))
    for renderer in _renderers():
        with suppress(RowFault):
            found = renderer.render(Example(turns)).input_ids
            plain = renderer.render(Example(tuple(Turn(turn.role, "a") for turn in turns))).input_ids
            control = set(renderer.tokenizer.all_special_ids)
            told, own = ([token for token in ids if token in control] for ids in (found, plain))
            assert told == own, f"control tokens {told}, the template's own {own}"


TARGETS = (
    # a template is stopped after a second, and rows that it refuses are told by themselves
    Target("chat_template", "a chat template in Jinja", _template, cpu_seconds=5.0, share=0.05),
    Target("chat_text", "what is said in a chat", _said, share=0.3),
)
