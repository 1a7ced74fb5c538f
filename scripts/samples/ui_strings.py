"""`ui_strings`: Django's English user-interface strings and their translations into sixteen languages."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from .rows import Row, one_line, plain, side

LANGUAGES = {
    "br": "Breton",
    "cy": "Welsh",
    "de": "German",
    "dsb": "Lower Sorbian",
    "es": "Spanish",
    "eu": "Basque",
    "fr": "French",
    "ga": "Irish",
    "gd": "Scottish Gaelic",
    "hsb": "Upper Sorbian",
    "it": "Italian",
    "kab": "Kabyle",
    "ky": "Kyrgyz",
    "pt_BR": "Brazilian Portuguese",
    "sw": "Swahili",
    "tg": "Tajik",
}
CATALOGUES = ("conf", "contrib/admin", "contrib/auth", "contrib/flatpages", "contrib/humanize")


def cut(package: Path, *, languages: Mapping[str, str] = LANGUAGES) -> list[Row]:
    """Return rows (source, target, code, language, split), grouped by the English source."""
    pairs: dict[tuple[str, str], str] = {}
    for code in languages:
        for catalogue in CATALOGUES:
            path = package / "django" / catalogue / "locale" / code / "LC_MESSAGES" / "django.mo"
            if path.exists():
                for source, target in _messages(path.read_bytes()).items():
                    pairs.setdefault((source, code), target)
    return [
        {"source": source, "target": target, "code": code, "language": languages[code], "split": side(plain(source))}
        for (source, code), target in sorted(pairs.items())
    ]


def _messages(catalogue: bytes) -> dict[str, str]:
    """Return the singular strings of three words or more in a compiled gettext catalogue.

    Source: the MO file layout in the GNU gettext manual, section 10.3.
    """
    magic, _, count, originals, translations = struct.unpack_from("<5I", catalogue)
    assert magic == 0x950412DE, "not a little-endian gettext catalogue"

    def text(table: int, index: int) -> str:
        length, offset = struct.unpack_from("<2I", catalogue, table + 8 * index)
        return catalogue[offset : offset + length].decode("utf-8")

    found: dict[str, str] = {}
    for index in range(count):
        source, target = text(originals, index), text(translations, index)
        # NUL parts plural forms and EOT a context from the text.
        if {"\0", "\x04"} & set(source) or len(source.split()) < 3:
            continue
        # A translation of nothing but blanks is an untranslated string too.
        if one_line(target) not in ("", one_line(source)):
            found[one_line(source)] = one_line(target)
    return found
