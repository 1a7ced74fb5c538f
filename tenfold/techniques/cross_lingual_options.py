"""The settings of cross-lingual tuning, as a recipe writes them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tenfold.techniques.technique import Options

ZERO_SHOT = "zero_shot"
FEW_SHOT = "few_shot"
TEXT = "text-"
"""What the name of a task begins with that is a language's raw text."""


class CrossLingualOptions(Options):
    """Settings of cross-lingual tuning."""

    language_column: str | None = None
    """The column that says a row's language: a task is made for each. When unset, `data.tasks` are the languages."""
    languages: tuple[str, ...] = ()
    """Of the column, only these languages; all when empty."""
    source: tuple[str, ...] = ("en",)
    """The languages that are trained; all others are met for the first time in the test."""
    smoothing: float = Field(default=0.5, gt=0.0, le=1.0)
    """Several sources are met in proportion to rows ** smoothing (0.5: Lample & Conneau 2019, section 3.1)."""
    few_shot: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = ()
    """Then also train on so many rows of each other language, each number by itself."""
    few_shot_updates: int = Field(default=20, ge=1)
    """Updates of each training on few rows."""
    few_shot_learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] | None = None
    """Peak rate of these, also of those without the source; when unset, that of `optim`."""
    few_shot_draws: int = Field(default=1, ge=1, le=20)
    """How many times the few rows are drawn anew."""
    compare_alone: bool = True
    """Also train on the same few rows without the source languages."""
    language_adapters: dict[str, str] = Field(default_factory=dict)
    """For each language the artifact whose adapter, trained on its text, lies under the task's (MAD-X)."""
    language_text: dict[str, str] = Field(default_factory=dict)
    """For each language a file of raw text: its adapter is trained on that in a first stage of this run."""

    @property
    def adapted(self) -> tuple[str, ...]:
        """The languages with an adapter of their own."""
        return (*self.language_text, *self.language_adapters)


def few_shot_name(language: str, rows: int, draw: int, *, alone: bool = False) -> str:
    """Return what the stage on so many rows of a language is called: `de@5`, `de@5-alone`, `de@5.2` (second draw)."""
    return f"{language}@{rows}" + (f".{draw + 1}" if draw else "") + ("-alone" if alone else "")
