"""Audio files: from the file's bytes to what a model would hear."""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from fuzz.promise import Target
from fuzz.targets.place import scratch
from tenfold.data.audio import look_at, read_audio
from tenfold.data.fields import RowFault

RATE = 16_000


def _read(content: bytes) -> None:
    path = scratch() / "clip"
    path.write_bytes(content)
    with suppress(RowFault):
        clip = look_at(path)
        wave = read_audio(path, rate=RATE)
        assert len(wave) == clip.num_samples(RATE), "a clip that is longer or shorter than was planned for"
        assert np.isfinite(wave).all(), "sound that is no number"


TARGETS = (Target("audio", "an audio file", _read),)
