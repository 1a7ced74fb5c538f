"""SOURCES.md: one paragraph a piece, with the counts of what was really made."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

from evidence.catalogue import PIECES
from evidence.piece import RECORD, Piece, Workshop, record

HEAD = """# Evidence: where it comes from, what was made, what to beware of

Written by `python -m evidence.prepare`, which fetches everything with the ordinary package clients; nothing here is
committed but this page. Models are Hugging Face folders in safetensors, each made from a weight file that is pinned by
its SHA-256. Tables are JSON lines, one file a split, under `evidence/data/tables/NAME/`. Every row says its `split` and
its `group`; a group is never on two sides, and texts that begin alike (200 letters, case and punctuation aside) are on
one side only. Splits are by hash of the group, so they stay when an index grows. Counts are train / validation / test.
"""


def write_page(path: Path, workshop: Workshop) -> None:
    """Write the page to `path`; a piece that is not made keeps the paragraph that it had."""
    old = _paragraphs(path.read_text(encoding="utf-8")) if path.is_file() else {}
    parts = [HEAD]
    for kind, title in (("models", "## Models"), ("tables", "## Tables")):
        parts.append(title + "\n")
        for piece in PIECES.values():
            if piece.kind == kind:
                folder = workshop.place(piece)
                made = (folder / RECORD).is_file()
                paragraph = note(piece, record(folder)) if made else old.get(piece.name, "")
                parts += [f"### {piece.name}\n{paragraph}\n"] if paragraph else []
    path.write_text("\n".join(parts), encoding="utf-8")


def note(piece: Piece, kept: Mapping[str, object]) -> str:
    """Return the paragraph about `piece`, of which `kept` was recorded when it was made."""
    facts = kept["facts"]
    assert isinstance(facts, dict)
    sentences = [piece.about, f"Source: {piece.source}.", f"Licence: {piece.licence}."]
    if piece.group:
        sentences.append(f"Group: {piece.group}.")
    rows = facts.get("rows")
    if isinstance(rows, dict):
        sentences.append(f"Rows: {rows['train']:,} / {rows['validation']:,} / {rows['test']:,}.")
    others = {name: value for name, value in facts.items() if name != "rows"}
    sentences += [f"{name.replace('_', ' ').capitalize()}: {_shown(value)}." for name, value in others.items()]
    if piece.pitfalls:
        sentences.append(f"Pitfalls: {piece.pitfalls}.")
    text = " ".join([*sentences, f"Made {kept['made']}."])
    return textwrap.fill(text, width=118, break_long_words=False, break_on_hyphens=False)


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return " / ".join(_shown(inner) for inner in value)
    return f"{value:,}" if isinstance(value, int) else value if isinstance(value, str) else json.dumps(value)


def _paragraphs(text: str) -> dict[str, str]:
    return dict(re.findall(r"^### (\S+)\n(.+?)\n(?:\n|\Z)", text, flags=re.MULTILINE | re.DOTALL))
