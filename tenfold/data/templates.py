"""Which text a conversation becomes, and which parts of the text are replies to learn.

Two templates: the tokenizer's own chat template, or `plain` (turns as they are). Both give a text with
spans; what is a token, and which token ends a turn, is decided later in `render.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

from jinja2.exceptions import TemplateError

from tenfold.data.examples import Turn
from tenfold.data.fields import RowFault

Message = dict[str, str]

_MARK = "Zyx"
"""A text that no template contains."""


class ApplyTemplate(Protocol):
    """Fill a chat template: what `apply_chat_template(…, tokenize=False)` does."""

    def __call__(self, messages: list[Message], *, add_generation_prompt: bool) -> str:
        """Return the text of `messages`, perhaps with the opening of a reply after it."""


@dataclass(frozen=True)
class Span:
    """A reply within a text, in characters.

    Generation would begin at `start`, the content ends at `content_end`, and the token that ends the turn
    lies before `limit`.
    """

    start: int
    content_end: int
    limit: int


@dataclass(frozen=True)
class SpannedText:
    """A rendered conversation and the replies in it that are to be learned.

    Each of `pieces` is tokenised by itself; the spans count characters over all of them.
    """

    pieces: tuple[str, ...]
    spans: tuple[Span, ...] = ()
    stands_for: Mapping[str, str] = field(default_factory=dict)
    """What in the pieces stands for the name of a special token that is text."""


class PlainTemplate:
    """Turns as they are, one a line, the end-of-sequence token after each reply.

    Between a prompt and its reply stands the example's own separator: nothing for `prompt`/`completion` rows. A
    reply is tokenised apart from what comes before it, so that training meets the very tokens that generation
    starts from, even where a prompt ends in a blank.
    """

    def __init__(self, eos: str) -> None:
        self._eos = eos

    def prompt(self, turns: Sequence[Turn], separator: str) -> tuple[str, ...]:
        """Return the text before a reply to `turns`, in pieces."""
        pieces = [""]
        for turn in turns:
            if turn.role == "assistant":
                pieces[-1] += separator
                pieces += [turn.content + self._eos, ""]
            else:
                pieces[-1] += ("\n" if pieces != [""] else "") + turn.content
        return (*pieces[:-1], pieces[-1] + separator)

    def render(self, turns: Sequence[Turn], separator: str, learned: Sequence[int]) -> SpannedText:
        """Return the text of `turns`, with a span for each turn whose number is in `learned`."""
        spans = []
        for number in learned:
            start = sum(map(len, self.prompt(turns[:number], separator)))
            content_end = start + len(turns[number].content)
            spans.append(Span(start, content_end, content_end + len(self._eos)))
        last = turns[-1].content + self._eos
        return SpannedText((*self.prompt(turns[:-1], separator), last), tuple(spans))


class ChatTemplate:
    """The tokenizer's chat template (or the recipe's), asked with ever longer openings of the conversation.

    Where the template refuses or drops a system turn (Gemma, Mistral), its text goes before the first user
    turn, as their authors advise.
    """

    def __init__(self, apply: ApplyTemplate) -> None:
        self._apply = apply

    def prompt(self, turns: Sequence[Turn], separator: str) -> tuple[str, ...]:
        """Return the text before a reply to `turns`; raises `RowFault` where the template refuses them."""
        return (self._text(self.messages(turns), add_generation_prompt=True),)

    def render(self, turns: Sequence[Turn], separator: str, learned: Sequence[int]) -> SpannedText:
        """Return the text of `turns`, with a span for each turn whose number is in `learned`.

        Raises:
            RowFault: the template refuses the turns, or shows a learned reply otherwise once the talk goes on, so
                that training would teach a text that generation never meets.
        """
        messages = self.messages(turns)
        offset = len(turns) - len(messages)  # 1 when the system turn was folded into the user's
        full = self._text(messages)
        spans = tuple(self._span(messages, number - offset, full) for number in learned)
        return SpannedText((full,), spans)

    def _span(self, messages: list[Message], number: int, full: str) -> Span:
        opening = self._text(messages[:number], add_generation_prompt=True)
        is_last = number == len(messages) - 1
        own = full if is_last else self._text(messages[: number + 1])
        limit = len(own) if full.startswith(own) else _num_common(own, full)
        content_end = len(own.removesuffix(self._closing).rstrip())
        if full.startswith(opening) and content_end <= limit:
            return Span(len(opening), max(content_end, len(opening)), limit)
        raise RowFault(
            f"the chat template rewrites turn {number + 1} when other turns follow it",
            "set data.train_on: last, which learns only the last reply" if not is_last else "use another chat template",
        )

    def messages(self, turns: Sequence[Turn]) -> list[Message]:
        """Return `turns` as the template is given them."""
        if len(turns) > 1 and turns[0].role == "system" and self._system_place == "first user turn":
            folded = Turn("user", f"{turns[0].content}\n\n{turns[1].content}")
            turns = [folded, *turns[2:]]
        return [{"role": turn.role, "content": turn.content} for turn in turns]

    @cached_property
    def _system_place(self) -> Literal["own turn", "first user turn"]:
        probe = [{"role": "system", "content": _MARK}, {"role": "user", "content": "a"}]
        try:
            text = self._apply(probe, add_generation_prompt=True)
        except TemplateError:
            return "first user turn"
        return "own turn" if _MARK in text else "first user turn"

    @cached_property
    def _closing(self) -> str:
        """What the template puts after a last reply.

        Counted from here, the end of a reply is right whatever the reply says: to look for its text could find
        it in the header or the end token that the template adds.
        """
        talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _MARK}]
        return self._text(talk).rpartition(_MARK)[2]

    def _text(self, messages: list[Message], *, add_generation_prompt: bool = False) -> str:
        try:
            return self._apply(messages, add_generation_prompt=add_generation_prompt)
        except TemplateError as error:
            raise RowFault(f"the chat template refuses the turns: {error}") from None


def _num_common(first: str, second: str) -> int:
    """Return how many characters two texts share from the start."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(first), len(second)))
