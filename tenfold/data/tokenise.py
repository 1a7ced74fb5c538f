"""How texts become tokens whose places are known: whole, or from one special token to the next where that is the same.

Where a tokenizer takes special tokens out of a text first and treats each stretch between them by itself, stretches
that many rows share (the system turn, the openings of turns) are tokenised once.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, pairwise
from typing import Any, Literal, cast

from transformers import PreTrainedTokenizerBase

from tenfold.data.mask import Ends
from tenfold.data.spelling import Spelling, revealed
from tenfold.data.templates import SpannedText
from tenfold.errors import DataError, Problem


@dataclass(frozen=True)
class ListedEnds:
    """The number of the character behind each token, never falling."""

    ends: Sequence[int]

    def until(self, place: int) -> int:
        """Return how many tokens end at character `place` or before."""
        return bisect_right(self.ends, place)


@dataclass(frozen=True)
class Stretch:
    """A stretch of text and its tokens, by itself."""

    text: str
    ids: list[int]
    find_ends: Callable[[Stretch], list[int]]

    @cached_property
    def ends(self) -> list[int]:
        """The number of the character behind each token."""
        return self.find_ends(self)

    def until(self, place: int) -> int:
        """Return how many tokens end at character `place` of the stretch or before."""
        return bisect_right(self.ends, place) if place < len(self.text) else len(self.ids)


class StretchEnds:
    """The ends of the tokens of stretches that follow each other."""

    def __init__(self, stretches: Sequence[Stretch]) -> None:
        self._stretches = stretches
        self._starts = list(accumulate([len(stretch.text) for stretch in stretches[:-1]], initial=0))
        self._tokens_before = list(accumulate([len(stretch.ids) for stretch in stretches[:-1]], initial=0))

    def until(self, place: int) -> int:
        """Return how many tokens end at character `place` or before."""
        if place <= 0:
            return 0
        at = bisect_left(self._starts, place) - 1
        return self._tokens_before[at] + self._stretches[at].until(place - self._starts[at])


class Tokeniser:
    """Tokens of texts, without those that a tokenizer would put around them."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, special: Literal["text", "control"] = "text") -> None:
        self.tokenizer = tokenizer
        self.spelling = Spelling(tokenizer, special)

    def ids(self, texts: list[str]) -> list[list[int]]:
        """Return the tokens of each text, special ones among them."""
        encoded = self.tokenizer(
            texts, add_special_tokens=False, split_special_tokens=False, return_attention_mask=False, verbose=False
        )
        return cast(list[list[int]], encoded["input_ids"])

    def asked(self, pieces: Sequence[str], stands_for: Mapping[str, str]) -> list[int]:
        """Return the tokens of a filled template's pieces; `stands_for` is what `Spelling.hidden` gave."""
        parts = revealed(pieces, stands_for)
        return [token for part, is_spelt in parts for token in self._part(part, is_spelt=is_spelt)]

    def _part(self, text: str, *, is_spelt: bool) -> list[int]:
        return (self.spelling if is_spelt else self).ids([text])[0]

    def placed(self, texts: Sequence[SpannedText]) -> Iterator[tuple[list[int], Ends]]:
        """Yield each text's tokens, and where they end.

        Raises:
            DataError: a tokenizer that gives no offsets, and whose tokens cross a span's border.
        """
        if not self.tokenizer.is_fast:
            yield from map(self._without_offsets, texts)
            return
        cut = [
            [
                part
                for piece, is_spelt in revealed(text.pieces, text.stands_for)
                for part in self._parts(piece, is_spelt)
            ]
            for text in texts
        ]
        known = self._encoded(dict.fromkeys(part for part in chain.from_iterable(cut) if isinstance(part, str)))
        for parts in cut:
            stretches = [known[part] if isinstance(part, str) else part for part in parts]
            yield [token for stretch in stretches for token in stretch.ids], StretchEnds(stretches)

    def _parts(self, text: str, is_spelt: bool) -> list[str] | list[Stretch]:
        if not is_spelt:
            return self._cut(text)
        ((ids, places),) = self.spelling.placed([text])
        return [Stretch(text, ids, lambda _: [end for _, end in places])]

    def _cut(self, text: str) -> list[str]:
        """Return the text in stretches that are tokenised apart."""
        return [part for part in self._border.split(text) if part] if self._border else [text]

    def _encoded(self, texts: Iterable[str]) -> dict[str, Stretch]:
        known = {text: Stretch(text, [self._added[text]], _whole) for text in texts if text in self._added}
        others = [text for text in texts if text not in known]
        # without offsets it is a fifth faster, and they are asked of few stretches
        encoded = self._encoder.encode_batch_fast(others, add_special_tokens=False)
        return known | {text: Stretch(text, each.ids, self._ends) for text, each in zip(others, encoded, strict=True)}

    @property
    def _encoder(self) -> Any:
        encoder = self.tokenizer.backend_tokenizer
        encoder.no_truncation()  # left over from whoever called it last
        encoder.no_padding()
        encoder.encode_special_tokens = False
        return encoder

    def _ends(self, stretch: Stretch) -> list[int]:
        if self._added and stretch.text.isascii():
            ends = list(accumulate(map(self._num_bytes.__getitem__, stretch.ids)))
            if ends and ends[-1] == len(stretch.text):
                return ends
        return [end for _, end in self._encoder.encode(stretch.text, add_special_tokens=False).offsets]

    @cached_property
    def _num_bytes(self) -> dict[int, int]:
        """How many bytes each token of a byte-level tokenizer stands for: it writes a byte as a character."""
        return {place: len(token) for token, place in self.tokenizer.get_vocab().items()}

    @cached_property
    def _added(self) -> dict[str, int]:
        """The tokens that are taken out of a text before all else, where what stands between them is then apart."""
        content = json.loads(self.tokenizer.backend_tokenizer.to_str())
        added = content["added_tokens"]
        is_plain = not any(token[flag] for token in added for flag in ("normalized", "lstrip", "rstrip", "single_word"))
        if not (is_plain and _is_the_same_anywhere(content)):
            return {}
        return {token["content"]: token["id"] for token in added}

    @cached_property
    def _border(self) -> re.Pattern[str] | None:
        longest_first = sorted(self._added, key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None

    def _without_offsets(self, text: SpannedText) -> tuple[list[int], Ends]:
        """Cut the pieces on at the spans' borders: right where that leaves their tokens as they are."""
        borders = {place for span in text.spans for place in (span.start, span.content_end, span.limit)}
        ids: list[int] = []
        ends: list[int] = []
        start = 0
        for piece, is_spelt in revealed(text.pieces, text.stands_for):
            inner = {place - start for place in borders if start < place < start + len(piece)}
            for begin, end in pairwise(sorted({0, len(piece), *inner})):
                part = self._part(piece[begin:end], is_spelt=is_spelt)
                ids += part
                ends += [start + end] * len(part)
            start += len(piece)
        if ids != self.asked(text.pieces, text.stands_for):
            raise DataError(
                Problem(
                    "tokenizer",
                    f"{type(self.tokenizer).__name__} gives no offsets, and its tokens cross a turn's border",
                    remedy="use the fast tokenizer of this model (a tokenizer.json in its folder)",
                )
            )
        return ids, ListedEnds(ends)


def _whole(stretch: Stretch) -> list[int]:
    return [len(stretch.text)]


def _is_the_same_anywhere(content: Mapping[str, Any]) -> bool:
    """Whether a stretch has the same tokens wherever it stands: nothing is put before the first of a text.

    `content` is a tokenizer.json of the tokenizers library.
    """
    normalizer, first = content["normalizer"], content["pre_tokenizer"]
    steps = first.get("pretokenizers", [first]) if first else []
    return (
        (normalizer is None or normalizer["type"] in ("NFC", "NFKC"))
        and any(step["type"] == "ByteLevel" for step in steps)
        and all(
            step["type"] in ("Split", "Digits") or (step["type"] == "ByteLevel" and not step["add_prefix_space"])
            for step in steps
        )
    )
