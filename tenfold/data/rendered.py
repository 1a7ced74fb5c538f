"""What rows become: tokens with what is learned of them, whatever turns rows into tokens."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from transformers import PreTrainedTokenizerBase

from tenfold.data.batch import Batch, Entry, LabelForm
from tenfold.data.fields import RowFault
from tenfold.recipe import DataSection


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

    def token_text(self, token: int) -> str:
        """Return one token as text."""
        ...


def tokenizer_content(tokenizer: PreTrainedTokenizerBase) -> object:
    """Return all that decides which tokens a text has, as plain values."""
    if not tokenizer.is_fast:
        return [type(tokenizer).__name__, tokenizer.get_vocab(), tokenizer.all_special_tokens]
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    return content | {"truncation": None, "padding": None}  # left over from whoever called it last
