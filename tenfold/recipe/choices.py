"""The names that a recipe may choose from: formats of rows, metrics."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

Format = Literal[
    "auto",
    "messages",
    "sharegpt",
    "alpaca",
    "prompt_completion",
    "text",
    "translation",
    "speech",
    "classification",
    "multi_label",
    "regression",
    "tags",
    "span",
]
"""How a row says what it says; `auto` tells by the columns."""

MetricName = Literal[
    "exact_match",
    "json_match",
    "token_f1",
    "rouge_l",
    "chrf",
    "bleu",
    "wer",
    "cer",
    "accuracy",
    "macro_f1",
    "micro_f1",
    "mean_absolute_error",
    "r_squared",
    "pearson",
    "entity_f1",
    "tag_accuracy",
    "squad_exact_match",
    "squad_f1",
]
"""Metrics of answers in words, then those of labels."""


def _is_free(name: str) -> str:
    if name == "retention":
        raise ValueError(f"{name!r} is what the scorecard calls its own row; choose another name")
    return name


TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w-]*$", max_length=64), AfterValidator(_is_free)]
"""What a task may be called."""
