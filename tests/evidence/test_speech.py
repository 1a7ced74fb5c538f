"""Recorded speech: transcripts that can be trusted, recordings at 16 kHz, error rates by another way of counting."""

from __future__ import annotations

import wave
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from evidence.edit_distance import distance, error_rate
from evidence.speech import transcripts, waves


def test_transcripts_are_read_without_mark_and_comments() -> None:
    text = "\ufeff; Core sounds\n; elenco: tutti\n\nactivated: Attivato.\ndigits/1:  uno \nempty:\n"
    assert transcripts.parse(text) == {"activated": "Attivato.", "digits/1": "uno", "empty": ""}


@pytest.mark.parametrize(
    ("said", "reliable"),
    [
        ("Attivato.", True),
        ("Vuoi continuare? Premi 1.", True),
        ("Etes-vous certain ?", True),
        ("La conferenza ? piena.", False),
        ("il tempo sar? esattamente", False),
        ("[tono simple]", False),
        ("MGCP (in inglese)", False),
        ("<beep ascending>", False),
        ("...", False),
        ("", False),
        ("caf\ufffd", False),
    ],
)
def test_only_what_is_said_is_reliable(said: str, reliable: bool) -> None:
    assert transcripts.is_reliable(said) is reliable


def recording(path: Path, samples: np.ndarray, rate: int, channels: int = 1) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def test_a_tone_keeps_its_pitch_and_length_at_the_new_rate(tmp_path: Path) -> None:
    seconds = np.arange(4000) / 8000
    recording(tmp_path / "tone.wav", 8000 * np.sin(2 * np.pi * 440 * seconds), 8000)
    assert waves.convert(tmp_path / "tone.wav", tmp_path / "out" / "tone.wav") == 0.5
    samples = waves.read(tmp_path / "out" / "tone.wav")
    expected = 8000 / 32768 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16000)
    # Away from its ends, where the filter reaches into silence, the tone is the same to half a percent of full scale.
    assert np.abs(samples - expected)[200:-200].max() < 0.005


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 1), (8000, 2)])
def test_a_recording_of_another_kind_is_refused(tmp_path: Path, rate: int, channels: int) -> None:
    recording(tmp_path / "odd.wav", np.zeros(100), rate, channels)
    with pytest.raises(ValueError, match=f"{channels} channels of 16 bits at {rate} Hz"):
        waves.convert(tmp_path / "odd.wav", tmp_path / "out.wav")


@pytest.mark.parametrize(
    ("first", "second"), [("kitten", "sitting"), ("", "abc"), ("abc", ""), ("ab", "ba"), ("x", "x")]
)
def test_the_distance_is_that_of_its_definition(first: str, second: str) -> None:
    @cache
    def defined(left: int, right: int) -> int:
        if not left or not right:
            return left + right
        replaced = defined(left - 1, right - 1) + (first[left - 1] != second[right - 1])
        return min(replaced, defined(left - 1, right) + 1, defined(left, right - 1) + 1)

    assert distance(first, second) == defined(len(first), len(second))


def test_the_error_rate_is_over_all_that_was_said() -> None:
    heard, said = [["a", "b"], ["c"]], [["a", "x", "y"], ["c"]]
    assert error_rate(heard, said) == 2 / 4
