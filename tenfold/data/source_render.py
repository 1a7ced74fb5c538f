"""How an example becomes what an encoder-decoder reads and what its decoder learns.

The encoder reads all before the last reply, the decoder writes that reply. What generation is given (the start token,
the language that is written) is in no loss; the reply and the token that ends it are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from tenfold.data.batch import Batch, Entry, LabelForm, TokenSource, pack
from tenfold.data.examples import Example, Turn, learned_replies
from tenfold.data.fields import RowFault
from tenfold.data.rendered import Rendered, each_or_fault, tokenizer_content
from tenfold.data.spelling import Spelling
from tenfold.data.translation import BARE, with_prompt
from tenfold.errors import DataError, Problem
from tenfold.recipe import DataSection

_VERSION = 2  # raise it when the same example would give other tokens or another mask
_SETTINGS = ("system", "max_length", "special_tokens", "prompt", "language", "source_language")
_PROBE = Example((Turn("user", "a"), Turn("assistant", "b")))


class SourceRenderer:
    """Turns examples into tokens for encoder and decoder; `start` is the token that decoding starts from."""

    form: LabelForm | None = None

    def __init__(self, tokenizer: PreTrainedTokenizerBase, data: DataSection, *, start: int) -> None:
        self.tokenizer = tokenizer
        self.data = data
        self.start = start
        self._spelling = Spelling(tokenizer, data.special_tokens)
        unread = [name for name in ("template", "chat_template") if getattr(data, name) not in ("auto", None)]
        if unread:
            found = "would be read by nothing: an encoder-decoder is given the text as it is"
            raise DataError(*(Problem(f"data.{name}", found, remedy="remove it") for name in unread))
        if tokenizer.eos_token_id is None:
            found = "has no end-of-sequence token, so no text could end"
            raise DataError(Problem("tokenizer", found, remedy="use another model"))

    def render_all(self, examples: Sequence[Example]) -> list[Rendered | RowFault]:
        """Return each example as tokens of encoder and decoder, faults in their place."""
        return each_or_fault(self._render, examples)

    def cut(self, example: Example, rendered: Rendered) -> list[Rendered]:
        """Return `rendered` with what is longer than `max_length` cut, on either side."""
        limit = self.data.max_length
        source = cast(list[int], rendered.source)
        if len(source) > limit:
            # what ends the text stays: encoders have never read one without it
            source = [*source[: limit - 1], source[-1]]
            rendered = replace(rendered, source=source, source_length=len(source), truncated=True)
        if len(rendered.input_ids) > limit:
            ids, supervised = rendered.input_ids[:limit], rendered.supervised[:limit]
            rendered = replace(rendered, input_ids=ids, supervised=supervised, truncated=True, response_cut=True)
        return [rendered]

    def ask(self, example: Example) -> Entry:
        """Return the text to read and the tokens that the decoder is given; raises `RowFault`."""
        turns = example.turns[:-1] if example.turns[-1].role == "assistant" else example.turns
        source = self._source(replace(example, turns=turns))
        starts = self._starts(example.language)
        return Entry(0, starts, [False] * len(starts), source=source, source_length=len(source))

    def reference(self, example: Example) -> str:
        """Return the reply as the row has it."""
        return example.turns[-1].content

    def collate(self, entries: Sequence[Entry], *, task: str = "main") -> Batch:
        """Return `entries` as one batch, with the encoder's tokens beside the decoder's."""
        rows = tuple(tuple(cast(Sequence[int], entry.source)) for entry in entries)
        pad_id = self.tokenizer.pad_token_id
        return pack(entries, task=task, source=TokenSource(rows, 0 if pad_id is None else pad_id))

    def text_of(self, tokens: Sequence[int]) -> str:
        """Return a run of tokens as text."""
        return cast(str, self.tokenizer.decode(list(tokens)))

    def source_text(self, entry: Entry) -> str:
        """Return what the encoder reads, as its tokens say it."""
        return cast(str, self.tokenizer.decode(list(cast(Sequence[int], entry.source))))

    @property
    def stop_ids(self) -> frozenset[int]:
        """The token that ends a text."""
        return frozenset({self.tokenizer.eos_token_id})

    @cached_property
    def fingerprint(self) -> str:
        """Equal exactly when the same examples give the same tokens and masks; the same in every process."""
        probe = self._render(replace(_PROBE, language=self.data.language))
        settings = self.data.model_dump(include={*_SETTINGS})
        parts = [_VERSION, tokenizer_content(self.tokenizer), self.start, settings, vars(probe)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _render(self, example: Example) -> Rendered:
        if len(learned_replies(example.turns, self.data.train_on)) > 1:
            remedy = "set data.train_on: last, which learns only the last reply"
            raise RowFault("several replies are to be learned, and this model writes one a row", remedy)
        source = self._source(replace(example, turns=example.turns[:-1]))
        starts = self._starts(example.language)
        reply = self._written(example.turns[-1].content, example.language)
        reply = reply[len(starts) - 1 :]
        learns = example.turns[-1].train
        return Rendered(
            [*starts, *reply],
            [*[False] * len(starts), *[learns] * len(reply)],
            source=source,
            source_length=len(source),
        )

    def _source(self, example: Example) -> list[int]:
        turns = with_prompt(example, self.data, default=BARE)
        if self.data.system is not None and turns[0].role != "system":
            turns = (Turn("system", self.data.system), *turns)
        self._speak("src_lang", self.data.source_language)
        return self._spelling.framed("\n".join(turn.content for turn in turns))

    def _starts(self, language: str | None) -> list[int]:
        """Return what decoding starts from: the start token, and what the tokenizer puts before every text."""
        return [self.start, *self._written("", language)[:-1]]

    def _written(self, text: str, language: str | None) -> list[int]:
        """Return the decoder's tokens of `text`, with the token that ends it."""
        self._speak("tgt_lang", language or self.data.language)
        ids = self._spelling.framed(text, key="text_target")
        return ids if ids and ids[-1] == self.tokenizer.eos_token_id else [*ids, self.tokenizer.eos_token_id]

    def _speak(self, side: str, language: str | None) -> None:
        """Tell a tokenizer that marks texts with their language which one it is; others have no such attribute."""
        tokenizer: Any = self.tokenizer
        if not hasattr(tokenizer, side):
            return
        name = "language" if side == "tgt_lang" else "source_language"
        if language is None:
            found = f"this model's texts are marked with their language, and nothing says which ({name})"
            raise RowFault(found, f"set data.{name} to one of the tokenizer's codes")
        if getattr(tokenizer, side) != language:
            try:
                setattr(tokenizer, side, language)
            except (KeyError, ValueError, TypeError, AttributeError):
                raise RowFault(f"the tokenizer knows no language {language!r}", f"set data.{name}") from None
