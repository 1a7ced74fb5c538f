"""How a clip and its transcript become what a speech model hears and what it learns to write.

An encoder-decoder (Whisper) writes the transcript after tokens that name language and task; those are given, and in no
loss. A CTC model (Wav2Vec2, HuBERT) has no such tokens: its row begins with the blank, and every token is in the loss.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Protocol, cast

from transformers import PreTrainedTokenizerBase

from tenfold.data.audio import AudioFeatures, AudioSource, Clip, look_at
from tenfold.data.batch import Batch, Entry, LabelForm, pack
from tenfold.data.examples import Example
from tenfold.data.fields import RowFault
from tenfold.data.rendered import Rendered, each_or_fault, tokenizer_content
from tenfold.data.spelling import Spelling
from tenfold.recipe import DataSection

_VERSION = 2  # raise it when the same example would give other tokens or another mask


class SpeechModel(Protocol):
    """What rendering asks of a speech model's files."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer."""
        ...

    @property
    def features(self) -> AudioFeatures:
        """What makes its input from sound."""
        ...

    @property
    def is_ctc(self) -> bool:
        """Whether it aligns a transcript with the sound by itself, without a decoder."""
        ...

    @property
    def fingerprint(self) -> object:
        """All that decides its input beside the tokenizer, as plain values."""
        ...

    def starts(self, language: str | None) -> list[int]:
        """Return the tokens that writing starts from; raises `RowFault` where `language` does not fit the model."""
        ...

    def as_written(self, transcript: str) -> str:
        """Return the transcript as the model writes it."""
        ...


class SpeechRenderer:
    """Turns clips with transcripts into what `model` hears and learns."""

    form: LabelForm | None = None

    def __init__(self, model: SpeechModel, data: DataSection) -> None:
        self.model = model
        self.tokenizer = model.tokenizer
        self.data = data
        self._spelling = Spelling(self.tokenizer, data.special_tokens)

    def render_all(self, examples: Sequence[Example]) -> list[Rendered | RowFault]:
        """Return each clip's transcript as tokens, faults in their place; every file is looked at."""
        return each_or_fault(self._render, examples)

    def cut(self, example: Example, rendered: Rendered) -> list[Rendered]:
        """Return `rendered` with a transcript longer than `max_length` cut."""
        limit = self.data.max_length
        if len(rendered.input_ids) <= limit:
            return [rendered]
        cut = {"input_ids": rendered.input_ids[:limit], "supervised": rendered.supervised[:limit]}
        return [Rendered(**{**vars(rendered), **cut, "truncated": True, "response_cut": True})]

    def ask(self, example: Example) -> Entry:
        """Return the clip to hear and the tokens that the decoder is given; raises `RowFault`."""
        clip = self._clip(example)
        starts = self.model.starts(example.language or self.data.language)
        return Entry(
            0,
            starts,
            [False] * len(starts),
            source=str(example.audio),
            source_length=self._positions(clip),
        )

    def reference(self, example: Example) -> str:
        """Return the transcript."""
        return example.turns[-1].content

    def collate(self, entries: Sequence[Entry], *, task: str = "main") -> Batch:
        """Return `entries` as one batch; its audio is read when the model asks for it."""
        source = AudioSource(
            paths=tuple(cast(str, entry.source) for entry in entries),
            lengths=tuple(entry.source_length for entry in entries),
            features=self.model.features,
        )
        return pack(entries, task=task, source=source)

    def text_of(self, tokens: Sequence[int]) -> str:
        """Return a run of tokens as text; a letter that stands twice stays twice."""
        pieces = [[token] for token in tokens] if self.model.is_ctc else [list(tokens)]
        return "".join(cast(str, self.tokenizer.decode(piece)) for piece in pieces)

    def source_text(self, entry: Entry) -> str:
        """Return which file is heard."""
        return f"<{Path(cast(str, entry.source)).name}>"

    @property
    def stop_ids(self) -> frozenset[int]:
        """The token that ends a transcript, for models that write it token by token."""
        return frozenset(() if self.model.is_ctc else {self.tokenizer.eos_token_id})

    @cached_property
    def fingerprint(self) -> str:
        """Equal exactly when the same clips give the same tokens and features; the same in every process."""
        settings = self.data.model_dump(include={"max_length", "language", "special_tokens"})
        parts = [_VERSION, tokenizer_content(self.tokenizer), self.model.fingerprint, settings]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _render(self, example: Example) -> Rendered:
        clip = self._clip(example)
        starts = self.model.starts(example.language or self.data.language)
        ids = self._written(example.turns[-1].content)
        positions = self._positions(clip)
        if self.model.is_ctc:
            # between two equal tokens a blank has to stand
            needed = len(ids) + sum(first == second for first, second in pairwise(ids))
            if needed > positions:
                found = (
                    f"the transcript has {len(ids)} tokens, the clip of {clip.seconds:.2f} s only {positions} places"
                )
                raise RowFault(found, "check that transcript and clip belong together")
        else:
            ids = [*ids, self.tokenizer.eos_token_id]
        return Rendered(
            [*starts, *ids],
            [*[False] * len(starts), *[True] * len(ids)],
            source=str(example.audio.absolute()),
            source_length=positions,
            source_key=clip.key,
            notes=clip.notes(self.model.features.rate),
        )

    def _clip(self, example: Example) -> Clip:
        clip = look_at(example.audio, folder=example.folder)
        rate, frame = self.model.features.rate, self.model.features.frame_samples
        if clip.num_samples(rate) < frame:
            lasts, needed = 1000 * clip.seconds, 1000 * frame / rate
            found = f"{example.audio} lasts {lasts:.3g} ms, and one frame of the model {needed:.3g}"
            raise RowFault(found, "check how the clip was cut, or remove the row")
        window = self.model.features.window_seconds
        if window is not None and clip.seconds > window:
            found = f"{example.audio} lasts {clip.seconds:.1f} s, and the model hears {window:g} s at most"
            raise RowFault(found, "cut it into shorter clips with a transcript each")
        return clip

    def _positions(self, clip: Clip) -> int:
        return self.model.features.positions(clip.num_samples(self.model.features.rate))

    def _written(self, transcript: str) -> list[int]:
        text = self.model.as_written(transcript)
        ids = self._spelling.ids([text])[0]
        unknown = self.tokenizer.unk_token_id
        if self.model.is_ctc and unknown in ids:
            known = self.tokenizer.get_vocab()
            signs = sorted({sign for sign in text if sign not in known and not sign.isspace()})
            found = f"the model writes no {', '.join(map(repr, signs[:5])) or 'such signs'}"
            raise RowFault(found, "write transcripts in the letters and the case of the model's vocabulary")
        if not ids:
            raise RowFault("the transcript has no tokens")
        return ids
