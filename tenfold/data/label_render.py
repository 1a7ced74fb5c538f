"""How texts with a label become tokens with a label.

An encoder is given texts as its tokenizer frames them (`[CLS] text [SEP] pair [SEP]`), a decoder the texts as they
are, a line break between them and the end token after them, whose state has seen the whole row.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from transformers import PreTrainedTokenizerBase

from tenfold.data.batch import IGNORED, Batch, Entry, LabelForm, pack_labelled
from tenfold.data.fields import RowFault
from tenfold.data.label_space import LabelSpace
from tenfold.data.labelled import Answer, Labelled
from tenfold.data.rendered import Rendered, each_or_fault, spaced_text, tokenizer_content
from tenfold.data.spelling import Spelling
from tenfold.errors import DataError, Problem
from tenfold.recipe import DataSection

_VERSION = 2  # raise it when the same example would give other tokens or labels


@dataclass(frozen=True)
class Frame:
    """The tokens before a text, between two, and at the end."""

    before: list[int]
    between: list[int]
    after: list[int]


@dataclass(frozen=True)
class Laid:
    """A row's tokens, and where the characters of each of its texts went.

    `places[n]` is the number of text n's first token; `offsets[n]` are (start, end) of its tokens, in characters.
    """

    ids: list[int]
    places: list[int]
    offsets: list[list[tuple[int, int]]]
    is_cut: bool


class LabelRenderer:
    """Turns texts with labels into tokens as the `data` section says; it holds no rows."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, data: DataSection, *, space: LabelSpace, is_encoder: bool
    ) -> None:
        self.tokenizer = tokenizer
        self.data = data
        self.space = space
        self.is_encoder = is_encoder

    @property
    def form(self) -> LabelForm:
        """What labels are."""
        return self.space.form

    def render_all(self, examples: Sequence[Labelled]) -> list[Rendered | RowFault]:
        """Return the tokens and the label of each example, faults in their place; one call of the tokenizer.

        Rows are cut to `max_length` here: the longer one of two texts loses its end (of question and context, the
        context), and what frames them stays.
        """
        return each_or_fault(self._labelled, examples, self.lay(examples))

    def cut(self, example: Labelled, rendered: Rendered) -> list[Rendered]:
        """Return `rendered`, which is cut already."""
        return [rendered]

    def collate(self, entries: Sequence[Entry], *, task: str = "main") -> Batch:
        """Return `entries` laid end to end, with their labels."""
        return pack_labelled(entries, form=self.form, task=task)

    def text_of(self, tokens: Sequence[int]) -> str:
        """Return a run of tokens as text, with the blank before it where it begins a word."""
        return spaced_text(self.tokenizer, tokens)

    def lay(self, examples: Sequence[Labelled]) -> Iterator[Laid]:
        """Yield the tokens of each example, cut to `max_length`.

        Raises:
            DataError: `max_length` leaves no room, or the tokenizer cannot say where its tokens lie.
        """
        texts = [text for example in examples for text in example.texts]
        if not texts:
            return
        with_offsets = self.space.form in ("tags", "span")
        if with_offsets and not self.tokenizer.is_fast:
            found = f"{type(self.tokenizer).__name__} gives no offsets, so nothing can be marked in a text"
            raise DataError(Problem("tokenizer", found, remedy="use the fast tokenizer of this model"))
        spelling = Spelling(self.tokenizer, self.data.special_tokens)
        tokens = iter(spelling.placed(texts) if with_offsets else ((ids, []) for ids in spelling.ids(texts)))
        for example in examples:
            yield self._framed([next(tokens) for _ in example.texts])

    def _framed(self, texts: list[tuple[list[int], list[tuple[int, int]]]]) -> Laid:
        frame = self._frame
        room = self.data.max_length - len(frame.before) - len(frame.after) - len(frame.between) * (len(texts) - 1)
        lengths = [len(ids) for ids, _ in texts]
        kept = _fitted(lengths, room, only_last=self.space.form == "span")
        if room < 2 or min(kept) < 1 <= min(lengths):
            raise DataError(Problem("data.max_length", f"{self.data.max_length} leaves no room", remedy="raise it"))
        ids, places = list(frame.before), []
        for number, ((tokens, _), count) in enumerate(zip(texts, kept, strict=True)):
            ids += frame.between if number else []
            places.append(len(ids))
            ids += tokens[:count]
        offsets = [places[:count] for (_, places), count in zip(texts, kept, strict=True)]
        return Laid([*ids, *frame.after], places, offsets, kept != lengths)

    def _labelled(self, example: Labelled, laid: Laid) -> Rendered:
        if self.space.form == "tags":
            return self._tagged(example, laid)
        if self.space.form == "span":
            return self._answered(example, laid)
        labels = self.space.encoded(example.label)
        silent = [False] * len(laid.ids)
        return Rendered(laid.ids, silent, truncated=laid.is_cut, labels=labels, num_labels=1)

    def _tagged(self, example: Labelled, laid: Laid) -> Rendered:
        """Give each word's tag to its first piece; Source: Devlin et al. 2018 (arXiv 1810.04805), section 5.3."""
        assert isinstance(example.label, tuple)
        labels = [float(IGNORED)] * len(laid.ids)
        firsts = first_pieces(example.words, laid)
        for word, place in enumerate(firsts):
            if place is None and not laid.is_cut:
                raise RowFault(f"word {word + 1}, {example.words[word]!r}, has no token", "remove it and its tag")
            if place is not None:
                labels[place] = float(self.space.place(str(example.label[word])))
        return Rendered(
            laid.ids,
            [label != IGNORED for label in labels],
            truncated=laid.is_cut,
            response_cut=None in firsts,
            labels=tuple(labels),
        )

    def _answered(self, example: Labelled, laid: Laid) -> Rendered:
        assert isinstance(example.label, tuple)
        answer = example.label[0]
        assert isinstance(answer, Answer)
        covering = [
            laid.places[1] + place
            for place, (start, end) in enumerate(laid.offsets[1])
            if start < answer.start + len(answer.text) and end > answer.start
        ]
        is_whole = bool(covering) and (
            laid.offsets[1][covering[-1] - laid.places[1]][1] >= answer.start + len(answer.text.rstrip())
        )
        if not is_whole and not laid.is_cut:
            raise RowFault(f"the answer {answer.text[:40]!r} has no tokens of its own", "remove this row")
        ends = (float(covering[0]), float(covering[-1])) if is_whole else (float(IGNORED), float(IGNORED))
        silent = [False] * len(laid.ids)
        return Rendered(
            laid.ids, silent, truncated=laid.is_cut, response_cut=not is_whole, labels=ends, num_labels=int(is_whole)
        )

    def marks(self, batch: Batch, place: int) -> list[bool]:
        """Return for each token of row number `place` in the batch whether a tag or the answer lies on it."""
        start, end = batch.cu_seqlens[place : place + 2].tolist()
        assert batch.labels is not None
        if self.space.form == "tags":
            tagged: list[bool] = (batch.labels[start:end] != IGNORED).tolist()
            return tagged
        first, last = batch.labels[place].tolist() if self.space.form == "span" else (-1, -1)
        return [0 <= first <= token <= last for token in range(end - start)]

    def shown(self, batch: Batch, place: int) -> str:
        """Return the label of row number `place` in the batch as text."""
        assert batch.labels is not None
        names = self.space.names
        if self.space.form == "tags":
            start, end = batch.cu_seqlens[place : place + 2].tolist()
            return " ".join(names[tag] for tag in batch.labels[start:end].tolist() if tag != IGNORED)
        label = batch.labels[place]
        if self.space.form == "span":
            start, (first, last) = int(batch.cu_seqlens[place]), label.tolist()
            if first == IGNORED:
                return ""
            return cast(str, self.tokenizer.decode(batch.input_ids[start + first : start + last + 1])).strip()
        if self.space.form == "value":
            return f"{float(label) * self.space.spread + self.space.mean:.6g}"
        if self.space.form == "class":
            return names[int(label)]
        return " ".join(name for name, applies in zip(names, label.tolist(), strict=True) if applies)

    @cached_property
    def fingerprint(self) -> str:
        """Equal exactly when the same examples give the same tokens and labels; the same in every process."""
        space = self.space
        labels = [space.form, space.names, space.mean, space.spread]
        parts = [
            _VERSION,
            tokenizer_content(self.tokenizer),
            vars(self._frame),
            self.data.max_length,
            self.data.special_tokens,
            labels,
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _frame(self) -> Frame:
        """What the tokenizer puts around one text and between two, read from how it frames the text `a`."""
        bare = self._ids("a")
        single, pair = self.tokenizer("a")["input_ids"], self.tokenizer("a", "a")["input_ids"]
        start = _place(bare, single)
        before, after = single[:start], single[start + len(bare) :]
        if not self.is_encoder:
            eos = self.tokenizer.eos_token_id
            return Frame(before, self._ids("\n"), after or ([] if eos is None else [eos]))
        rest = pair[start + len(bare) :]
        return Frame(before, rest[: _place(bare, rest)] or self._ids("\n"), after)

    def _ids(self, text: str) -> list[int]:
        return cast(list[int], self.tokenizer(text, add_special_tokens=False)["input_ids"])


def first_pieces(words: Sequence[str], laid: Laid) -> list[int | None]:
    """Return the number of each word's first token in the row; None where the row is cut before it."""
    firsts: list[int | None] = []
    token, start = 0, 0
    offsets = laid.offsets[0]
    for word in words:
        end = start + len(word)
        # a blank before the word may be part of its first token, so the word begins with the token that ends in it
        while token < len(offsets) and offsets[token][1] <= start:
            token += 1
        place = laid.places[0] + token
        is_there = token < len(offsets) and offsets[token][0] < end and (not firsts or place != firsts[-1])
        firsts.append(place if is_there else None)
        start = end + 1
    return firsts


def _fitted(lengths: Sequence[int], room: int, *, only_last: bool) -> list[int]:
    """Return how many tokens of each text are kept, `room` at most: the longest loses first, or the last one only."""
    if sum(lengths) <= room:
        return list(lengths)
    if len(lengths) == 1:
        return [room]
    if only_last:
        return [lengths[0], max(0, room - lengths[0])]
    first, second = lengths
    half = room // 2
    if first <= half:
        return [first, room - first]
    return [room - second, second] if second <= half else [room - half, half]


def _place(part: list[int], whole: list[int]) -> int:
    """Return where `part` begins in `whole`; 0 where it does not occur."""
    return next((place for place in range(len(whole)) if whole[place : place + len(part)] == part), 0)
