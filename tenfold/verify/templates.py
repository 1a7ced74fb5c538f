"""Does training meet the text that the tokenizer's own template gives, and prediction the beginning of that text?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tenfold.data.examples import Example
from tenfold.data.render import Renderer
from tenfold.verify.finding import Compared, Difference, Skipped
from tenfold.verify.specimen import Specimen

ROWS_READ = 64
"""Rows of the training side that are rendered twice."""


@dataclass(frozen=True)
class Conversation:
    """A training row that a chat template renders."""

    origin: str
    example: Example
    messages: list[dict[str, str]]
    tokens: list[int]
    """As training meets them."""
    supervised: list[bool]

    def begins_with(self, asked: Sequence[int]) -> bool:
        """Return whether `asked` is what stands before the last reply, and the loss begins right after it."""
        length = len(asked)
        if length >= len(self.tokens):  # the row was cut before its reply
            return list(asked[: len(self.tokens)]) == self.tokens
        is_learned = self.example.turns[-1].train
        border = [False, True] if is_learned else [False, False]
        return list(asked) == self.tokens[:length] and self.supervised[length - 1 : length + 1] == border


def template(specimen: Specimen) -> Compared | Skipped:
    """Compare training rows, and where their last reply begins, with `apply_chat_template` of the same messages."""
    renderer, rows = _read(specimen)
    if renderer is None or not rows:
        return Skipped("no chat template renders these rows")
    others = []
    for row in rows:
        own = _tokens(renderer, row.messages, opens_reply=False)[: renderer.data.max_length]
        asked = _tokens(renderer, row.messages[:-1], opens_reply=True)
        if row.tokens != own or not row.begins_with(asked):
            others.append(row.origin)
    return _compared(f"{len(rows)} training rows, the template's own", others)


def prompt(specimen: Specimen) -> Compared | Skipped:
    """Compare what is given at prediction with the training row: all of it before the last reply."""
    renderer, rows = _read(specimen)
    if renderer is None or not rows:
        return Skipped("no chat template renders prompts of these rows")
    others = [row.origin for row in rows if not row.begins_with(renderer.prompt(row.example))]
    return _compared(f"{len(rows)} prompts, their training rows", others)


def _compared(what: str, others: Sequence[str]) -> Compared:
    note = f"such as {others[0]}" if others else ""
    return Compared(what, (Difference("rows that differ", len(others)),), "none, tokens are equal or not", note)


def _read(specimen: Specimen) -> tuple[Renderer | None, list[Conversation]]:
    renderer = specimen.task.kind.renderer
    if not isinstance(renderer, Renderer):
        return None, []
    return renderer, list(_conversations(specimen, renderer))


def _conversations(specimen: Specimen, renderer: Renderer) -> Iterator[Conversation]:
    prepared = specimen.task.train
    if prepared.rows.format == "text":
        return
    for number in range(min(ROWS_READ, len(prepared))):
        example = prepared.rows.example(number)
        assert isinstance(example, Example), "rows with labels have another renderer"
        messages = renderer.messages(example)
        if messages is not None and not renderer.holds_special(example) and example.turns[-1].role == "assistant":
            entry = prepared.row(number)
            yield Conversation(prepared.origin(number), example, messages, entry.input_ids, entry.supervised)


def _tokens(renderer: Renderer, messages: Sequence[dict[str, str]], *, opens_reply: bool) -> list[int]:
    """Return the tokens of `messages` by the tokenizer alone."""
    tokens: list[int] = renderer.tokenizer.apply_chat_template(
        list(messages),
        chat_template=renderer.data.chat_template,
        tokenize=True,
        return_dict=False,
        add_generation_prompt=opens_reply,
    )
    return tokens
