"""How a special token that a row spells out stays text.

A row may hold `<|im_end|>`: by accident, or to forge a turn that nobody took. Its letters become ordinary tokens here;
only what a template or a tokenizer adds by itself becomes special ones. `data.special_tokens: control` gives that up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import Literal, cast

from transformers import PreTrainedTokenizerBase

from tenfold.data.examples import Example
from tenfold.data.rendered import special_ids

_FILLERS = range(0x100000, 0x10FFFE)
"""Characters for private use: no tokenizer and no template knows them."""

Placed = tuple[list[int], list[tuple[int, int]]]
"""Tokens of a text, and where in it each begins and ends, in characters; no places without offsets."""


class Spelling:
    """Tokens of rows' texts, letter by letter where need be; `special` says what a special token's name in them is."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, special: Literal["text", "control"]) -> None:
        self._tokenizer = tokenizer
        self._is_text = special == "text"

    def holds_special(self, *texts: str) -> bool:
        """Return whether a text holds the name of a special token, which is to stay text."""
        return self._is_text and any(self._names.search(text) for text in texts)

    def ids(self, texts: Sequence[str], *, key: Literal["text", "text_target"] = "text") -> list[list[int]]:
        """Return the tokens of each text, none added around it; `key` says on which side of a translation it is."""
        return [ids for ids, _ in self._placed(texts, key, is_text=self._is_text)]

    def placed(self, texts: Sequence[str]) -> list[Placed]:
        """Return the tokens of each text and their places."""
        return self._placed(texts, "text", is_text=self._is_text, with_offsets=True)

    def framed(self, text: str, *, key: Literal["text", "text_target"] = "text") -> list[int]:
        """Return the tokens of `text` with those that the tokenizer puts around it."""
        if not self.holds_special(text):
            return cast(list[int], self._tokenizer(**{key: text}, verbose=False)["input_ids"])
        (bare,), whole = self.ids(["a"], key=key), cast(list[int], self._tokenizer(**{key: "a"})["input_ids"])
        start = next((t for t in range(len(whole)) if whole[t : t + len(bare)] == bare), 0)
        return [*whole[:start], *self.ids([text], key=key)[0], *whole[start + len(bare) :]]

    def hidden(self, example: Example) -> tuple[Example, dict[str, str]]:
        """Return the example with names of special tokens replaced, for a template to fill, and what stands for which.

        Each is as long as what it stands for: places in the filled template are those of the text itself.
        """
        texts = [*(turn.content for turn in example.turns), example.text or "", example.language or ""]
        if not self.holds_special(*texts):
            return example, {}
        names = sorted({name for text in texts for name in self._names.findall(text)})
        taken = set().union(*texts)
        fillers = (chr(code) for code in _FILLERS if chr(code) not in taken)
        runs = {name: next(fillers) * len(name) for name in names}

        def hide(text: str) -> str:
            return self._names.sub(lambda found: runs[found[0]], text)

        turns = tuple(replace(turn, content=hide(turn.content)) for turn in example.turns)
        text, language = (value if value is None else hide(value) for value in (example.text, example.language))
        hidden = replace(example, turns=turns, text=text, language=language)
        return hidden, {run: name for name, run in runs.items()}

    def _placed(
        self,
        texts: Sequence[str],
        key: Literal["text", "text_target"],
        *,
        is_text: bool,
        with_offsets: bool = False,
    ) -> list[Placed]:
        if not texts:
            return []
        encoded = self._tokenizer(
            **{key: list(texts)},
            add_special_tokens=False,
            return_attention_mask=False,
            return_offsets_mapping=with_offsets,
            split_special_tokens=is_text,
            verbose=False,
        )
        offsets = encoded["offset_mapping"] if with_offsets else [[]] * len(texts)
        found = list(zip(encoded["input_ids"], offsets, strict=True))
        if is_text:
            for place, text in enumerate(texts):
                if self._names.search(text) and not self._special.isdisjoint(found[place][0]):
                    found[place] = self._letter_by_letter(text, key, with_offsets=with_offsets)
        return found

    def _letter_by_letter(self, text: str, key: Literal["text", "text_target"], *, with_offsets: bool) -> Placed:
        """Return the tokens of `text` where the vocabulary has a special token's name as a word: as XLM-R's has."""
        parts = re.split(f"({self._names.pattern})", text)
        pieces = [piece for n, part in enumerate(parts) for piece in (part if n % 2 else [part]) if piece]
        found = self._placed(pieces, key, is_text=True, with_offsets=with_offsets)
        ids: list[int] = []
        places: list[tuple[int, int]] = []
        starts = accumulate(map(len, pieces), initial=0)
        for start, (own, offsets) in zip(starts, found, strict=False):
            ids += own
            places += [(start + begin, start + end) for begin, end in offsets]
        return ids, places

    @cached_property
    def _special(self) -> frozenset[int]:
        return special_ids(self._tokenizer)

    @cached_property
    def _names(self) -> re.Pattern[str]:
        added = (str(entry) for entry in self._tokenizer.added_tokens_decoder.values() if entry.special)
        names = sorted({*self._tokenizer.all_special_tokens, *added} - {""}, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or "(?!)")


def revealed(pieces: Sequence[str], stands_for: Mapping[str, str]) -> list[tuple[str, bool]]:
    """Return the pieces cut on at what stands for special tokens, that put back, and whether each is such a one."""
    if not stands_for:
        return [(piece, False) for piece in pieces]
    pattern = re.compile(f"({'|'.join(stands_for)})")
    parts = [part for piece in pieces for part in pattern.split(piece) if part]
    # what a template cut to pieces stands for nothing any more
    torn = str.maketrans(dict.fromkeys((run[0] for run in stands_for), "\N{REPLACEMENT CHARACTER}"))
    return [(stands_for[part], True) if part in stands_for else (part.translate(torn), False) for part in parts]
