"""Recordings as a recogniser wants them: one channel, 16 kHz, 16 bits."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

RATE = 16_000


def convert(source: Path, target: Path) -> float:
    """Write the recording `source` to `target` at 16 kHz; return how many seconds it lasts.

    Raises:
        ValueError: not one channel of 16 bits, or a rate that does not divide 16 kHz.
    """
    with wave.open(str(source), "rb") as recording:
        channels, width, rate = recording.getnchannels(), recording.getsampwidth(), recording.getframerate()
        samples = np.frombuffer(recording.readframes(recording.getnframes()), dtype="<i2")
    if channels != 1 or width != 2 or RATE % rate:
        raise ValueError(f"{source}: {channels} channels of {8 * width} bits at {rate} Hz")
    if rate != RATE:
        smooth = resample_poly(samples.astype(np.float64), RATE // rate, 1)
        samples = np.clip(np.rint(smooth), -32768, 32767).astype("<i2")
    target.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(target), "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(RATE)
        recording.writeframes(samples.tobytes())
    return len(samples) / RATE


def read(path: Path) -> np.ndarray:
    """Return the samples of a recording that `convert` wrote, between -1 and 1 [samples], float32."""
    with wave.open(str(path), "rb") as recording:
        samples = np.frombuffer(recording.readframes(recording.getnframes()), dtype="<i2")
    return samples.astype(np.float32) / 32768
