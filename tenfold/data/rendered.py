"""What rows become: tokens with what is learned of them, whatever turns rows into tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

from transformers import PreTrainedTokenizerBase

from tenfold.data.batch import Batch, Entry, LabelForm
from tenfold.data.examples import Example
from tenfold.data.fields import RowFault
from tenfold.recipe import DataSection

Made = TypeVar("Made")


@dataclass(frozen=True)
class Rendered:
    """The tokens of one example (or of a piece of it), which of them are in the loss, and its label."""

    input_ids: list[int]
    supervised: list[bool]
    end_supervised: bool = True
    """Every learned reply ends with an end-of-turn token that is in the loss."""
    truncated: bool = False
    response_cut: bool = False
    """What was cut off held tokens of the loss, or tags or the answer."""
    labels: tuple[float, ...] = ()
    """The label as numbers; one a token for tags."""
    num_labels: int = 0
    """Labels of the row as a whole that are in the loss."""
    source: list[int] | str | None = None
    """What the encoder reads, where the model also has a decoder: tokens, or the path of an audio file."""
    source_length: int = 0
    """Positions of the encoder that `source` takes."""
    source_key: int | None = None
    """63 bits that are equal for audio files of equal bytes."""
    notes: tuple[str, ...] = ()
    """What was done to the audio that a person should know."""

    @property
    def num_supervised(self) -> int:
        """How much there is to learn: tokens in the loss and labels of the row."""
        return sum(self.supervised) + self.num_labels


class RowRenderer(Protocol):
    """What turns rows of one meaning into tokens."""

    @property
    def data(self) -> DataSection:
        """The task's section of the recipe."""
        ...

    @property
    def form(self) -> LabelForm | None:
        """What the rows' labels are; None where words are learned."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal exactly when the same examples are rendered the same; the same in every process."""
        ...

    def render_all(self, examples: Sequence[Any]) -> list[Rendered | RowFault]:
        """Return each example's tokens, faults in their place."""
        ...

    def cut(self, example: Any, rendered: Rendered) -> list[Rendered]:
        """Return the pieces of at most `max_length` tokens that are learned of an example."""
        ...

    def collate(self, entries: Sequence[Entry], *, task: str = "main") -> Batch:
        """Return `entries` as one batch."""
        ...

    def text_of(self, tokens: Sequence[int]) -> str:
        """Return a run of tokens as text."""
        ...


class WordRenderer(RowRenderer, Protocol):
    """What turns rows that are answered in words into tokens."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        ...

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end a reply."""
        ...

    def ask(self, example: Example) -> Entry:
        """Return what the model is given to produce the last reply; raises `RowFault`."""
        ...

    def reference(self, example: Example) -> str:
        """Return the last reply as the row has it; empty for raw text."""
        ...


def each_or_fault(make: Callable[..., Made], *rows: Iterable[Any]) -> list[Made | RowFault]:
    """Return what `make` gives for each of the `rows` (of several tables, for those side by side), faults in place."""
    results: list[Made | RowFault] = []
    for row in zip(*rows, strict=True):
        try:
            results.append(make(*row))
        except RowFault as fault:
            results.append(fault)
    return results


def tokenizer_content(tokenizer: PreTrainedTokenizerBase) -> object:
    """Return all that decides which tokens a text has, as plain values."""
    if not tokenizer.is_fast:
        return [type(tokenizer).__name__, tokenizer.get_vocab(), tokenizer.all_special_tokens]
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    return content | {"truncation": None, "padding": None}  # left over from whoever called it last


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Return the tokens that stand for no text: of the tokenizer's roles, and those added as special."""
    added = tokenizer.added_tokens_decoder.items()
    return frozenset(tokenizer.all_special_ids) | {token for token, entry in added if entry.special}


def spaced_text(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> str:
    """Return a run of an encoder's tokens as text, with the blank before it where it begins a word."""
    prefix = "##"
    pieces = [cast(str, tokenizer.decode([token])) for token in tokens]
    if getattr(tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None) != prefix:
        return "".join(pieces).replace("▁", " ")
    continues = [name.startswith(prefix) for name in tokenizer.convert_ids_to_tokens(list(tokens))]
    return "".join(
        piece.removeprefix(prefix) if goes_on else f" {piece}" for piece, goes_on in zip(pieces, continues, strict=True)
    )
