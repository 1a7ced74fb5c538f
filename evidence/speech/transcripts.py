"""What is said in each recorded prompt: the list that comes with the recordings, without what cannot be trusted."""

from __future__ import annotations

import re

UNSPOKEN = re.compile(r"[\[\](){}<>@\ufffd]")
"""Signs of a note about the sound ("[tono simple]", "(in inglese)") or of a sign's name that is said."""

LOST_LETTER = re.compile(r"\?\s*[^\W\d_]")
"""A question mark before a letter is an accented letter that was lost ("La conferenza ? piena"), or could be one."""

SPELLED = ("digits/", "letters/", "phonetic/", "silence/")


def parse(text: str) -> dict[str, str]:
    """Return the transcripts by the path of their recording, as they are written; comments left out."""
    found: dict[str, str] = {}
    for line in text.removeprefix("\ufeff").splitlines():
        name, colon, said = line.partition(":")
        if colon and not line.startswith(";"):
            found[name.strip()] = " ".join(said.split())
    return found


def is_reliable(said: str) -> bool:
    """Tell whether a transcript is what is said and nothing else."""
    if not re.search(r"\w", said) or UNSPOKEN.search(said):
        return False
    return not any(match[0][-1].islower() for match in LOST_LETTER.finditer(said))


def is_spelled(name: str) -> bool:
    """Tell whether a recording is a single number or letter, to be put together with others."""
    return name.startswith(SPELLED)
