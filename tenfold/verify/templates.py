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
    trained: list[int]
    """Its tokens, as training meets them."""


def template(specimen: Specimen) -> Compared | Skipped:
    """Compare training rows as tokenised with `apply_chat_template` of the same messages."""
    renderer, rows = _read(specimen)
    if renderer is None or not rows:
        return Skipped("no chat template renders these rows")
    longest = renderer.data.max_length
    others = [row.origin for row in rows if row.trained != _tokens(renderer, row.messages, opens_reply=False)[:longest]]
    return _compared(f"{len(rows)} training rows, the template's own", others)


def prompt(specimen: Specimen) -> Compared | Skipped:
    """Compare what is given at prediction with how the training row begins, and with the template's own prompt."""
    renderer, rows = _read(specimen)
    rows = [row for row in rows if row.messages[-1]["role"] == "assistant"]
    if renderer is None or not rows:
        return Skipped("no chat template renders prompts of these rows")
    others = []
    for row in rows:
        asked = renderer.prompt(row.example)
        length = min(len(asked), len(row.trained))  # a row may have been cut
        own = _tokens(renderer, row.messages[:-1], opens_reply=True)
        if asked[:length] != row.trained[:length] or asked != own:
            others.append(row.origin)
    return _compared(f"{len(rows)} prompts, their training rows", others)


def _compared(what: str, others: Sequence[str]) -> Compared:
    note = f"such as {others[0]}" if others else ""
    return Compared(what, (Difference("rows that differ", len(others)),), "equal tokens", note)


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
        if messages is not None:
            yield Conversation(prepared.origin(number), example, messages, prepared.row(number).input_ids)


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
