"""What counts as a word, in any script."""

from __future__ import annotations

import unicodedata


def words(text: str) -> list[str]:
    """Return the words of a text in any script, case folded: runs of letters, marks and digits.

    Each ideograph or kana is a word. Scripts without spaces between words (Thai, Khmer, Lao) give one word a
    phrase, so chrF says more about them.
    """
    spaced = "".join(sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in text.casefold())
    return [word for part in spaced.split() for word in apart(part)]


def apart(part: str) -> list[str]:
    """Return ideographs and kana split off from each other and from what stands beside them."""
    return "".join(f" {sign} " if _is_ideograph_or_kana(sign) else sign for sign in part).split()


def _is_ideograph_or_kana(sign: str) -> bool:
    code = ord(sign)
    return (
        0x3040 <= code <= 0x30FF or 0x3400 <= code <= 0x9FFF or 0xF900 <= code <= 0xFAFF or 0x20000 <= code <= 0x3FFFF
    )
