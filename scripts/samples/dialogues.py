"""`dialogues`: short English questions and one answer each, from a chat bot's training corpus."""

from __future__ import annotations

from pathlib import Path

import yaml

from .rows import Row, drop_repeats, one_line, plain, side


def cut(package: Path) -> list[Row]:
    """Return rows (prompt, response, topic, split): the first answer to each distinct prompt."""
    rows: list[Row] = []
    for path in sorted((package / "chatterbot_corpus/data/english").glob("*.yml")):
        for turns in yaml.safe_load(path.read_text(encoding="utf-8"))["conversations"]:
            prompt, response = one_line(str(turns[0])), str(turns[1]).strip()
            split = side("dialogues", plain(prompt))
            rows.append({"prompt": prompt, "response": response, "topic": path.stem, "split": split})
    return drop_repeats(rows, "prompt")
