"""Raw text for an encoder: framed and cut into rows, some of whose tokens are hidden anew in every epoch.

Source: Devlin et al. 2018 (arXiv 1810.04805), section 3.1 and appendix A.1. Departure: a random token is never a
special one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from typing import cast

import numpy as np
from transformers import PreTrainedTokenizerBase

from tenfold.data.batch import IGNORED, Batch, Entry, pack_masked
from tenfold.data.examples import Example
from tenfold.data.fields import RowFault
from tenfold.data.rendered import Rendered, spaced_text, special_ids, tokenizer_content
from tenfold.data.spelling import Spelling
from tenfold.errors import DataError, Problem
from tenfold.recipe import DataSection

SHARE = 0.15
"""How many of a row's tokens are to be told."""

MASKED, RANDOM = 0.8, 0.1
"""In what shares of these the mask token or a random one stands; the rest stay as they are."""

SMALLEST_PIECE = 2
"""Tokens of the last piece of a long text, below which it is left out."""

_VERSION = 2  # raise it when the same text would give other tokens


def num_hidden(num_tokens: int) -> int:
    """Return how many of so many tokens are to be told: 15 %, rounded, but one at least where there is any."""
    return min(num_tokens, max(1, round(SHARE * num_tokens)))


@dataclass(frozen=True)
class MaskedText(Rendered):
    """A text's tokens; `supervised` says which of them may be hidden: all but the special ones."""

    @property
    def num_supervised(self) -> int:
        """How many tokens are to be told each time the row is met."""
        return num_hidden(sum(self.supervised))


class MaskedRenderer:
    """Turns raw text into rows of `[CLS] text [SEP]`, and hides tokens where rows become a batch.

    Which tokens are hidden, and how, follows from the entry's `draw` (seed and epoch) and the row's number alone: not
    from the batch that it is in.
    """

    form = None

    def __init__(self, tokenizer: PreTrainedTokenizerBase, data: DataSection) -> None:
        self.tokenizer = tokenizer
        self.data = data
        if tokenizer.mask_token_id is None:
            found = "has no mask token, and an encoder learns from raw text by telling what was masked"
            raise DataError(Problem("tokenizer", found, remedy="choose another model.name, or a decoder"))

    def render_all(self, examples: Sequence[Example]) -> list[Rendered | RowFault]:
        """Return each text's tokens, without what frames them, not yet cut; one call of the tokenizer."""
        texts = [example.text or "" for example in examples]
        return [self._masked(ids) for ids in self._ids(texts)] if texts else []

    def cut(self, example: Example, rendered: Rendered) -> list[Rendered]:
        """Return the text framed, in as many rows of at most `max_length` tokens as it takes.

        Raises:
            DataError: `max_length` leaves no room.
        """
        before, after = self._frame
        room = self.data.max_length - len(before) - len(after)
        if room < SMALLEST_PIECE:
            raise DataError(Problem("data.max_length", f"{self.data.max_length} leaves no room", remedy="raise it"))
        ids = rendered.input_ids
        pieces = [ids[start : start + room] for start in range(0, max(1, len(ids)), room)]
        if len(pieces) > 1 and len(pieces[-1]) < SMALLEST_PIECE:
            pieces.pop()
        return [self._masked([*before, *piece, *after]) for piece in pieces]

    def collate(self, entries: Sequence[Entry], *, task: str = "main") -> Batch:
        """Return `entries` laid end to end with tokens hidden; a position's target is its own token."""
        hidden = [self._hidden(entry) for entry in entries]
        rows = [entry._replace(input_ids=ids) for entry, (ids, _) in zip(entries, hidden, strict=True)]
        return pack_masked(rows, [told for _, told in hidden], task=task)

    def text_of(self, tokens: Sequence[int]) -> str:
        """Return a run of tokens as text, with the blank before it where it begins a word."""
        return spaced_text(self.tokenizer, tokens)

    @cached_property
    def fingerprint(self) -> str:
        """Equal exactly when the same texts give the same tokens; the same in every process."""
        special = [self.data.special_tokens, *sorted(self._special)]
        parts = [_VERSION, tokenizer_content(self.tokenizer), self._frame, self.data.max_length, special]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _hidden(self, entry: Entry) -> tuple[list[int], list[int]]:
        """Return the entry's tokens with some of them hidden, and what is to be told at each place."""
        random = np.random.default_rng([*entry.draw, entry.row])
        places = list(compress(range(len(entry.input_ids)), entry.supervised))
        shown, told = list(entry.input_ids), [IGNORED] * len(entry.input_ids)
        for place in random.permutation(places)[: num_hidden(len(places))].tolist():
            told[place] = entry.input_ids[place]
            kind = random.random()
            if kind < MASKED:
                shown[place] = cast(int, self.tokenizer.mask_token_id)
            elif kind < MASKED + RANDOM:
                shown[place] = int(random.choice(self._ordinary))
        return shown, told

    def _masked(self, ids: list[int]) -> MaskedText:
        return MaskedText(ids, [token not in self._special for token in ids])

    @cached_property
    def _special(self) -> frozenset[int]:
        return special_ids(self.tokenizer)

    @cached_property
    def _ordinary(self) -> np.ndarray:
        return np.array(sorted(set(self.tokenizer.get_vocab().values()) - self._special))

    @cached_property
    def _frame(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before a text and after it, read from how it frames the text `a`."""
        bare, whole = self._ids(["a"])[0], cast(list[int], self.tokenizer("a")["input_ids"])
        start = next((place for place in range(len(whole)) if whole[place : place + len(bare)] == bare), 0)
        return whole[:start], whole[start + len(bare) :]

    def _ids(self, texts: list[str]) -> list[list[int]]:
        return Spelling(self.tokenizer, self.data.special_tokens).ids(texts)
