"""Rows to translate: a decoder is asked in words, an encoder-decoder is given the text."""

from __future__ import annotations

from collections.abc import Sequence

from tenfold.data.examples import Example
from tenfold.tasks.generation import Generation


class Translation(Generation):
    """Tasks of translation: text in, text out, judged by how close it comes to the reference."""

    name = "translation"
    asks = "source"

    def metrics_for(self, references: Sequence[str]) -> tuple[str, ...]:
        """Return chrF, which speaks of every language, and BLEU, which is what people quote."""
        return ("chrf", "bleu")

    def question_of(self, prompt: str) -> Example:
        """Return `prompt` as a text to translate."""
        return Example(super().question_of(prompt).turns, is_translation=True)
