"""How text of others (rows, answers, names, errors) is written so that it stays text: on a screen, in Markdown."""

from __future__ import annotations

import re

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, which move a terminal's cursor or clear it, and those that turn the direction of what follows."""

_MARKUP = re.compile(r"[\\`<>|&]|\](?=[(\[:])")
"""What begins a tag, code, a cell or an escape, and what makes a link of brackets."""


def on_screen(text: str) -> str:
    """Return `text` with a sign for each character that nobody sees but that changes what is read."""
    return UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text)


def in_markdown(text: str) -> str:
    """Return `text` in one line, as Markdown that shows it letter by letter, in a table too."""
    return _MARKUP.sub(lambda found: f"&#{ord(found[0])};", on_screen(" ".join(text.split())))


def as_code(text: str) -> str:
    """Return `text` in one line, as code in Markdown, whatever quotes it holds; not for tables."""
    line = on_screen(" ".join(text.split()))
    quotes = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    pad = " " if line[:1] == "`" or line[-1:] == "`" else ""
    return f"{quotes}{pad}{line}{pad}{quotes}"
