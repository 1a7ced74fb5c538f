"""`speech_xx`: prompts of the Asterisk telephone exchange, spoken by one person a language, with their transcripts."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evidence.debian.apt import open_apt
from evidence.piece import Workshop
from evidence.speech import transcripts, waves
from evidence.tables import Row, apart, plain, side, write
from scripts.samples.packages import Package, fetch_package

VERSION = "1.6.1-1"
SHORTEST, LONGEST = 0.3, 30.0
"""Seconds. Whisper hears no more than thirty."""


@dataclass(frozen=True)
class Voice:
    """Who speaks, under which licence, and the SHA-256 of the packages with the transcripts and the recordings."""

    speaker: str
    licence: str
    words_sha256: str
    sounds_sha256: str


VOICES = {
    "en": Voice(
        "Allison Smith",
        "CC-BY-SA-3.0",
        "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
        "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
    ),
    "es": Voice(
        "Allison Smith",
        "CC-BY-SA-3.0",
        "9afdab7f559f036649fb406e625899306ca1004df8ebe39c30bfbd5912d66f74",
        "9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903",
    ),
    "fr": Voice(
        "June Wallack",
        "CC-BY-SA-3.0",
        "04c82c78c570c43a7136cbc5e2488d0c470b775468dff9fbce4a131b18cf1056",
        "8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e",
    ),
    "it": Voice(
        "Carlo Flora",
        "CC-BY-3.0",
        "3884d9457e12f21caa018c18f0d587df5d53ebea14b673d8453a134c5941ab3b",
        "5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb",
    ),
    "ru": Voice(
        "ivrvoice.ru (Maxim Topal)",
        "CC-BY-3.0",
        "28a61616bb0cd3345a7ea532dec4df9f071e5d0fa9f8c1a563ea9669002f39ab",
        "ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201",
    ),
}


@dataclass(frozen=True)
class SpeechMaker:
    """Makes the table and the recordings of one language."""

    language: str

    def __call__(self, folder: Path, workshop: Workshop) -> Mapping[str, object]:
        """Write rows (audio, text, seconds, spelled, group, split) and 16 kHz recordings into `folder`.

        `audio` is the recording's path from the folder. The group is the text without case and punctuation, and
        each text stays once.
        """
        voice = VOICES[self.language]
        words = self._fetch("", voice.words_sha256, workshop)
        sounds = self._fetch("-wav", voice.sounds_sha256, workshop)
        rows, facts = _rows(_said(words, self.language), next(sounds.glob("usr/share/asterisk/sounds/*/")), folder)
        return {"rows": write(folder, f"speech_{self.language}", rows), **facts}

    def _fetch(self, suffix: str, sha256: str, workshop: Workshop) -> Path:
        name = f"asterisk-core-sounds-{self.language}{suffix}"
        package = Package("apt", name, VERSION, f"{name}_{VERSION}_all.deb", sha256)
        return fetch_package(package, workshop.cache, environment=open_apt(workshop.cache).environment)


def _said(package: Path, language: str) -> dict[str, str]:
    name = f"core-sounds-{language}"
    path = package / f"usr/share/doc/asterisk-{name}/{name}.txt.gz"
    return transcripts.parse(gzip.decompress(path.read_bytes()).decode("utf-8"))


def _rows(said: Mapping[str, str], sounds: Path, folder: Path) -> tuple[list[Row], Mapping[str, object]]:
    present = {name: text for name, text in sorted(said.items()) if (sounds / f"{name}.wav").is_file()}
    reliable = {name: text for name, text in present.items() if transcripts.is_reliable(text)}
    # A text that stands for itself is kept before the same one among the spelled numbers and letters.
    order = sorted(reliable, key=lambda name: (transcripts.is_spelled(name), name))
    rows: list[Row] = []
    for name in order:
        audio = f"clips/{name.replace('/', '-')}.wav"
        seconds = waves.convert(sounds / f"{name}.wav", folder / audio)
        text = reliable[name]
        row = {"audio": audio, "text": text, "seconds": round(seconds, 2), "spelled": transcripts.is_spelled(name)}
        rows.append({**row, "group": plain(text), "split": side("speech", plain(text))})
    fitting = [row for row in rows if SHORTEST <= float(str(row["seconds"])) <= LONGEST]
    kept = apart(fitting, "text", letters=10_000)
    _remove_unused(folder, {str(row["audio"]) for row in kept})
    facts = {
        "clips_with_a_transcript": len(present),
        "of_these_reliable": len(reliable),
        "minutes": round(sum(float(str(row["seconds"])) for row in kept) / 60, 1),
        "spelled_clips": sum(bool(row["spelled"]) for row in kept),
    }
    return kept, facts


def _remove_unused(folder: Path, used: set[str]) -> None:
    for path in (folder / "clips").glob("*.wav"):
        if f"clips/{path.name}" not in used:
            path.unlink()
