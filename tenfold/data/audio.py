"""What an audio file holds: its length, rate and channels, and its sound as the model wants it.

WAV, FLAC, OGG and whatever else `libsndfile` reads. Channels are mixed down to one, another rate than the model's is
resampled; both are said in the findings of the gate.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import Tensor

from tenfold.data.fields import RowFault
from tenfold.errors import DataError, Problem

if TYPE_CHECKING:
    from types import ModuleType

    from soundfile import SoundFile


RATES = (1_000, 384_000)
"""Samples a second that a file may have: far below and above any recording; others only take memory to resample."""

BLOCK = 2**18
"""Values that are decoded at a time: what a file says of its length is not believed before it is read."""


class AudioFeatures(Protocol):
    """What makes a model's input from sound."""

    @property
    def rate(self) -> int:
        """Samples a second that the model wants."""
        ...

    @property
    def window_seconds(self) -> float | None:
        """The longest clip that the model hears whole, or None where it has no such limit."""
        ...

    @property
    def frame_samples(self) -> int:
        """How many samples the model needs for a single position: one frame."""
        ...

    def positions(self, num_samples: int) -> int:
        """Return how many positions of the encoder a clip of so many samples takes."""
        ...

    def __call__(self, waves: Sequence[np.ndarray]) -> Mapping[str, Tensor]:
        """Return the clips (each float32, [samples]) one a line, under the names of the model's inputs."""
        ...


@dataclass(frozen=True)
class Clip:
    """What a file says of itself, and 63 bits that are equal for equal bytes."""

    num_frames: int
    rate: int
    num_channels: int
    key: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.num_frames / self.rate

    def num_samples(self, rate: int) -> int:
        """Return how many samples it has at another rate."""
        return math.ceil(self.num_frames * rate / self.rate)

    def notes(self, rate: int) -> tuple[str, ...]:
        """Return what is done to it before a model that wants `rate` hears it."""
        notes = []
        if self.num_channels > 1:
            notes.append(f"{self.num_channels} channels are mixed down to one")
        if self.rate != rate:
            low = ", less than half of the rate that the model knows," if self.rate * 2 < rate else ""
            notes.append(f"{self.rate:,} Hz{low} is resampled to {rate:,} Hz")
        return tuple(notes)


def look_at(path: Path, *, folder: str = "") -> Clip:
    """Return what the file holds; its bytes are read once, for their hash. `folder` is where relative paths start.

    Raises:
        RowFault: it is missing, no audio, or holds no sound.
        DataError: the libraries that read audio are not installed.
    """
    soundfile = _soundfile()
    try:
        key = int.from_bytes(hashlib.sha256(path.read_bytes()).digest()[:8], "big") >> 1
        found = soundfile.info(str(path))
    except FileNotFoundError:
        start = "the folder of the data file" if folder else "the folder where you run"
        raise RowFault(f"no audio file {path}", f"check the path; relative ones start in {start}") from None
    except OSError as error:
        raise RowFault(f"{path} cannot be read: {error.strerror or error}") from None
    except soundfile.LibsndfileError as error:
        raise RowFault(f"{path} is no audio that can be read: {error}", "convert it to WAV, FLAC or OGG") from None
    if found.frames == 0:
        raise RowFault(f"{path} holds no sound (0 samples)")
    if not RATES[0] <= found.samplerate <= RATES[1]:
        low, high = RATES
        raise RowFault(
            f"{path} has {found.samplerate:,} samples a second", f"resample it: {low:,} to {high:,} are read"
        )
    return Clip(found.frames, found.samplerate, found.channels, key)


def read_audio(path: Path, *, rate: int) -> np.ndarray:
    """Return the file's sound as float32 in [-1, 1], [samples], one channel at `rate` samples a second.

    Raises:
        DataError: the file is gone or damaged.
    """
    soundfile = _soundfile()
    remedy = "put it back, or remove its row"
    try:
        with soundfile.SoundFile(str(path)) as file:
            found, named, size = file.samplerate, file.frames, max(1, BLOCK // file.channels)
            blocks = list(_blocks(file, size))
    except (OSError, soundfile.LibsndfileError) as error:
        raise DataError(Problem(str(path), f"cannot be read any more: {error}", remedy=remedy)) from None
    wave = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if len(wave) != named:
        raise DataError(Problem(str(path), f"{len(wave):,} of the {named:,} samples that it names", remedy=remedy))
    if not np.isfinite(wave).all():
        raise DataError(Problem(str(path), "holds samples that are not finite numbers", remedy="remove its row"))
    return wave if found == rate else _resampled(wave, found, rate)


def _blocks(file: SoundFile, size: int) -> Iterator[np.ndarray]:
    """Yield the file's sound, channels mixed, `size` samples at a time until it ends."""
    while len(block := file.read(size, dtype="float32", always_2d=True)):
        yield block.mean(axis=1)


def _resampled(wave: np.ndarray, found: int, rate: int) -> np.ndarray:
    from scipy.signal import resample_poly

    shared = math.gcd(found, rate)
    resampled: np.ndarray = resample_poly(wave, rate // shared, found // shared).astype(np.float32)
    return resampled


def _soundfile() -> ModuleType:
    try:
        import scipy  # asked for here, so that its lack shows before anything is trained
        import soundfile
    except ImportError as error:
        found = f"rows of speech need the packages soundfile and scipy, and {error.name} is not installed"
        raise DataError(Problem("audio", found, remedy="pip install 'tenfold[speech]'")) from None
    assert scipy.__name__ == "scipy"
    module: ModuleType = soundfile
    return module


@dataclass(frozen=True)
class AudioSource:
    """Clips that an encoder hears; their features are made when they are asked for, and kept nowhere."""

    paths: tuple[str, ...]
    lengths: tuple[int, ...]
    features: AudioFeatures

    num_tokens = 0

    def read(self) -> Mapping[str, Tensor]:
        """Return the clips' features under the names of the model's inputs.

        Raises:
            DataError: a file is gone or damaged.
        """
        return self.features([read_audio(Path(path), rate=self.features.rate) for path in self.paths])
