"""Rows to translate: a decoder is asked in words, an encoder-decoder is given the text."""

from __future__ import annotations

from collections.abc import Sequence

from tenfold.data.examples import Example, Turn
from tenfold.tasks.generation import Generation


class Translation(Generation):
    """Tasks of translation: text in, text out, judged by how close it comes to the reference."""

    name = "translation"
    asks = "source"

    def metrics_for(self, references: Sequence[str]) -> tuple[str, ...]:
        """Return chrF, which speaks of every language, and BLEU, which is what people quote."""
        return ("chrf", "bleu")

    def ask(self, turns: Sequence[Turn]) -> Example:
        """Return the last of `turns` as a text to translate by itself: no row has taught what came before to matter."""
        system = [turn for turn in turns if turn.role == "system"]
        return Example((*system, turns[-1]), is_translation=True)
