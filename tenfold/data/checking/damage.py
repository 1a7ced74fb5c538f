"""Damage to the text itself: wrong decodings, lost and stray characters, control tokens; in rows and in raw files."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

_CONTINUATION = "\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u20ac\u2022\u2026\u2122"
"""What the bytes 0x80 to 0xBF become in Windows-1252; quotation marks are left out: they follow Ã in good text."""

_MOJIBAKE = re.compile(
    f"[ÂÃ][{_CONTINUATION}]"  # Latin-1 letters: Ã© for é
    "|â€[\u0080-\u00bf\u0153\u017e\u02dc\u201c\u201d\u2122\u0161\u00a6\u00a2\u2019\u201a]"  # ’ “ ” – …
    f"|ð[\u0178\u009f][{_CONTINUATION}\u2018-\u201e]"  # emoji
    f"|(?:[ÐÑ][{_CONTINUATION}\u2018-\u201e]){{2}}"  # Cyrillic
    "|ï»¿|ï¿½"
)
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_CONTROL_TOKENS = re.compile(
    r"<\|[A-Za-z_][\w ]{1,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>"
    r"|<｜[^｜]{1,40}｜>|\[(?:CLS|SEP|MASK|PAD)\]"
)


def damages(texts: Sequence[str], joined: str) -> Iterator[tuple[str, int, int]]:
    """Yield each kind of damage once with where it starts and ends in `joined`, which holds all `texts` of a row."""
    if not joined.isascii():
        for kind, sign in (("mojibake", _MOJIBAKE), ("surrogates", _SURROGATES)):
            if match := sign.search(joined):
                yield kind, *match.span()
        for kind, character in (("replacement", "\ufffd"), ("inner_bom", "\ufeff")):
            if (place := joined.find(character)) >= 0:
                yield kind, place, place + 1
    # characters that Windows-1252 leaves out are part of mojibake, not a second fault
    if (match := _CONTROLS.search(joined)) and (match[0] < "\x80" or not _MOJIBAKE.search(joined)):
        yield "control_characters", *match.span()
    if ("<" in joined or "[" in joined) and (match := _CONTROL_TOKENS.search(joined)):
        yield "control_tokens", *match.span()
    if "\r" in joined and any(_mixes_line_ends(text) for text in texts):
        place = joined.index("\r")
        yield "mixed_line_ends", place, place + 1


def _mixes_line_ends(text: str) -> bool:
    pairs = text.count("\r\n")
    return (
        len({pairs > 0 and "\r\n", text.count("\n") > pairs and "\n", text.count("\r") > pairs and "\r"} - {False}) > 1
    )


def quoted(text: str) -> str:
    """Return `text` as it can be shown: what is no printable character as its escape."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def file_damages(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what is odd about a text file as bytes: a byte order mark, lines that end in different ways."""
    with cast(BinaryIO, gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        start = file.read(3)
        if start == b"\xef\xbb\xbf":
            yield "file_bom", "begins with EF BB BF"
        file.seek(0)
        pairs = feeds = 0
        last = b""
        while block := file.read(1 << 20):
            pairs += block.count(b"\r\n") + (last == b"\r" and block[:1] == b"\n")
            feeds += block.count(b"\n")
            last = block[-1:]
    if 0 < pairs < feeds:
        yield "mixed_line_ends", f"{pairs:,} lines end in \\r\\n, {feeds - pairs:,} in \\n"
