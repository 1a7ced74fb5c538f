"""What stands before a model: its tokenizer and, for speech, what makes its input from sound.

Also which tokens a decoder starts from: the start token and, for Whisper, those of language and task.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor
from transformers import AutoFeatureExtractor, GenerationConfig, PreTrainedConfig, WhisperFeatureExtractor
from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

from tenfold.data.fields import RowFault
from tenfold.errors import ModelError, Problem
from tenfold.models.architecture import Family
from tenfold.models.load import Tokenizer
from tenfold.models.masked_head import holds_masked_head
from tenfold.models.quiet import quiet_loading
from tenfold.models.sources import first_line


class Features:
    """A feature extractor of transformers, asked in one way whatever the model."""

    def __init__(self, extractor: Any, config: PreTrainedConfig) -> None:
        self.extractor = extractor
        self.rate = int(extractor.sampling_rate)
        # Whisper hears exactly 30 seconds, silence after the clip included; cut shorter it no longer understands
        self._window = extractor.n_samples if isinstance(extractor, WhisperFeatureExtractor) else None
        self._positions = getattr(config, "max_source_positions", None) if self._window else None
        self._strides = list(zip(getattr(config, "conv_kernel", ()), getattr(config, "conv_stride", ()), strict=False))

    @property
    def window_seconds(self) -> float | None:
        """The longest clip that the model hears whole, or None where it has no such limit."""
        return None if self._window is None else self._window / self.rate

    @property
    def frame_samples(self) -> int:
        """How many samples the model needs for a single position: its window, or what its convolutions span."""
        if isinstance(self.extractor, WhisperFeatureExtractor):
            return int(self.extractor.n_fft)
        num_samples = 1 if self._strides else self.rate // 40  # most encoders read 25 ms at a time
        for kernel, stride in reversed(self._strides):
            num_samples = (num_samples - 1) * stride + kernel
        return num_samples

    def positions(self, num_samples: int) -> int:
        """Return how many positions of the encoder a clip takes: exactly, where the configuration says; else about."""
        if self._positions is not None:
            return int(self._positions)
        if not self._strides:
            return max(1, num_samples * 50 // self.rate)  # most encoders have a position each 20 ms
        for kernel, stride in self._strides:
            num_samples = max(0, (num_samples - kernel) // stride + 1)
        return num_samples

    def __call__(self, waves: Sequence[np.ndarray]) -> Mapping[str, Tensor]:
        """Return the clips (each float32, [samples]) one a line, under the names of the model's inputs."""
        options: dict[str, object] = {"padding": "max_length"} if self._window else {"padding": True}
        if not self._window:
            options["return_attention_mask"] = True
        features = self.extractor(list(waves), sampling_rate=self.rate, return_tensors="pt", **options)
        return cast(Mapping[str, Tensor], dict(features))


@dataclass(frozen=True)
class Processor:
    """A model's tokenizer and feature extractor, and what its files say of starting to write."""

    tokenizer: Tokenizer
    family: Family
    start: int | None = None
    """The token that a decoder beside an encoder starts from."""
    sound: Features | None = None
    generation: GenerationConfig | None = None
    holds_masked_head: bool = False
    """Whether an encoder's files hold the layer that tells masked words."""

    @property
    def features(self) -> Features:
        """What makes the input of a speech model."""
        assert self.sound is not None, "only speech models hear"
        return self.sound

    @property
    def is_ctc(self) -> bool:
        """Whether the model aligns a transcript with the sound by itself, without a decoder."""
        return self.family == "speech_encoder"

    @property
    def fingerprint(self) -> object:
        """All that decides a speech model's input and first tokens beside the tokenizer, as plain values."""
        return [json.loads(self.features.extractor.to_json_string()), self._given, self.start]

    def starts(self, language: str | None) -> list[int]:
        """Return the tokens that writing starts from.

        Raises:
            RowFault: the model is told the language and `language` is None or unknown; or it is not told, and is given.
        """
        if self.is_ctc or not self._is_told_language:
            if language is not None:
                found = f"the language {language!r} is given, and this model is told none"
                raise RowFault(found, "leave out data.language and the column language")
            return [self._blank] if self.is_ctc else [self._start, *self._given]
        if language is None:
            found = "this model is told which language it hears, and nothing says which"
            raise RowFault(found, "set data.language, or add a column language")
        code = TO_LANGUAGE_CODE.get(language.lower(), language.lower())
        spoken = self._token(f"<|{code}|>")
        if spoken is None:
            raise RowFault(f"the model knows no language {language!r}", "use a code such as it, or a name")
        task = self._token("<|transcribe|>")
        return [self._start, spoken, *([] if task is None else [task]), *self._given]

    def as_written(self, transcript: str) -> str:
        """Return the transcript as the model writes it: Whisper begins with a blank."""
        return f" {transcript.strip()}" if self._is_whisper else transcript.strip()

    def save(self, folder: Path) -> None:
        """Write tokenizer and feature extractor into `folder`."""
        self.tokenizer.save_pretrained(folder)
        if self.sound is not None:
            self.sound.extractor.save_pretrained(folder)

    @property
    def _is_whisper(self) -> bool:
        return self.sound is not None and isinstance(self.sound.extractor, WhisperFeatureExtractor)

    @property
    def _is_told_language(self) -> bool:
        return self._is_whisper and bool(getattr(self.generation, "is_multilingual", False))

    @cached_property
    def _given(self) -> list[int]:
        """What Whisper is told at the end: to write no times."""
        silent = self._token("<|notimestamps|>") if self._is_whisper else None
        return [] if silent is None else [silent]

    @property
    def _start(self) -> int:
        assert self.start is not None, "a decoder beside an encoder has a start token"
        return self.start

    @property
    def _blank(self) -> int:
        return cast(int, self.tokenizer.pad_token_id)

    def _token(self, text: str) -> int | None:
        return cast("int | None", self.tokenizer.get_vocab().get(text))


def open_processor(folder: Path, config: PreTrainedConfig, tokenizer: Tokenizer, family: Family) -> Processor:
    """Return what stands before the model in `folder`.

    Raises:
        ModelError: a speech model without a usable feature extractor, or a decoder without a start token.
    """
    if family in ("decoder", "encoder"):
        return Processor(tokenizer, family, holds_masked_head=family == "encoder" and holds_masked_head(folder))
    generation = GenerationConfig.from_model_config(config)
    if (folder / "generation_config.json").is_file():
        generation = GenerationConfig.from_pretrained(folder, local_files_only=True)
    start = getattr(config, "decoder_start_token_id", None)
    start = getattr(generation, "decoder_start_token_id", None) if start is None else start
    if start is None and family != "speech_encoder":
        found = "neither config.json nor generation_config.json names a decoder_start_token_id"
        raise ModelError(Problem(str(folder), found, remedy="add it: the token that the decoder starts from"))
    sound = None if family == "encoder_decoder" else Features(_extractor(folder), config)
    return Processor(tokenizer, family, start, sound, generation)


def _extractor(folder: Path) -> Any:
    with quiet_loading():
        try:
            return AutoFeatureExtractor.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # damaged files end in errors of many unrelated types
            found = f"no usable feature extractor: {first_line(error)}"
            remedy = "make the folder complete: a sound preprocessor_config.json"
            raise ModelError(Problem(str(folder), found, remedy=remedy)) from error
