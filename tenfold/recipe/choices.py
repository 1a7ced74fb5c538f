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


Share = Annotated[float, Field(ge=0.0, le=1.0)]
ShareBelowOne = Annotated[float, Field(ge=0.0, lt=1.0)]
"""Of the whole."""


def _is_place(name: str) -> str:
    if "\0" in name or any(len(part.encode()) > 255 for part in name.split("/")):
        raise ValueError(
            "no file, folder or model can be called so: a part of it is longer than 255 bytes, or has a NUL"
        )
    return name


Place = Annotated[str, Field(min_length=1), AfterValidator(_is_place)]
"""What names a file, a folder, or something on a hub."""


def _is_free(name: str) -> str:
    if name == "retention":
        raise ValueError(f"{name!r} is what the scorecard calls its own row; choose another name")
    return name


TASK_NAME = r"[A-Za-z0-9][\w-]*"

TaskName = Annotated[str, Field(pattern=f"^{TASK_NAME}$", max_length=64), AfterValidator(_is_free)]
"""What a task may be called."""
