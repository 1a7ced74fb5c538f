"""The tables of recorded speech, with what a reader has to know about them."""

from __future__ import annotations

from evidence.piece import Piece
from evidence.speech.asterisk import VERSION, VOICES, SpeechMaker

LANGUAGES = {"en": "English", "it": "Italian", "fr": "French (Canada)", "es": "Spanish (Mexico)", "ru": "Russian"}

SPEECH = tuple(
    Piece(
        name=f"speech_{code}",
        kind="tables",
        make=SpeechMaker(code),
        about=f"Telephone prompts in {language}, spoken by {VOICES[code].speaker}: recordings (`audio`, a path from the"
        " table's folder, 16 kHz, one channel) and what is said (`text`); `spelled` tells single numbers and letters.",
        source=f"asterisk-core-sounds-{code} and asterisk-core-sounds-{code}-wav {VERSION} (Debian), 8 kHz, resampled",
        licence=VOICES[code].licence + ", attribution: " + VOICES[code].speaker,
        group="the text without case and punctuation; each text is kept once",
        pitfalls="one speaker, so nothing is said about new voices, and telling languages would be telling voices;"
        " transcripts with notes or lost letters are left out, some typing errors stay; numbers are written now in"
        " digits, now in words, so compare normalised texts",
    )
    for code, language in LANGUAGES.items()
)
