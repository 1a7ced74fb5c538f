"""What a SentencePiece normalisation map does besides Unicode's NFKC: letters that it drops or makes blanks."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping


def beyond_nfkc(replacements: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Return (letters that are dropped, letters that become a blank) where `replacements` differs from NFKC.

    Raises:
        ValueError: a letter becomes something else that NFKC does not make of it.
    """
    different = {old: new for old, new in replacements.items() if unicodedata.normalize("NFKC", old) != new}
    odd = sorted(f"U+{ord(old):04X}" for old, new in different.items() if new not in ("", " "))
    if odd:
        raise ValueError(f"neither NFKC, dropped nor a blank: {', '.join(odd)}")
    return [old for old, new in different.items() if not new], [old for old, new in different.items() if new]


def character_class(letters: Iterable[str]) -> str:
    """Return a regular expression that matches any one of `letters`."""
    return "[" + "".join(f"\\x{{{ord(letter):x}}}" for letter in sorted(letters)) + "]"
