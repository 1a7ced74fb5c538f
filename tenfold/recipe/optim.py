"""The section of a recipe that says how the parameters move, and what stands in the way of its choices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tenfold.errors import Problem
from tenfold.recipe.choices import Share, ShareBelowOne
from tenfold.recipe.section import Positive, Section
from tenfold.recipe.tuner_settings import WholeWeights
from tenfold.recipe.tuners import Tuner


class OptimSection(Section):
    """How the parameters move."""

    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    """`adamw_8bit` keeps AdamW's state in two bytes a trained parameter, not eight; each update takes longer."""
    in_backward: bool = False
    """Move each parameter as soon as its gradient is whole, and drop it: four bytes a trained parameter less.

    The same update to the bit, but of all its rows at once, and without `max_gradient_norm`."""
    learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] | None = None
    """Peak rate; when unset, the tuner's own default."""
    head_learning_rate: Annotated[float, Field(gt=0.0, le=10.0)] = 1e-3
    """Peak rate of new heads, which start from nothing and need to move further than what is tuned."""
    epochs: Annotated[float, Field(gt=0.0, le=1000.0)] = 1.0
    max_updates: Positive | None = None
    """Stop after this many updates, however many epochs that is."""
    total_updates: Positive | None = None
    """Updates of all stages together, each with its share of what it would have had: a budget to compare by."""
    batch_size: Positive = 16
    """Rows per update. How they are cut into micro-batches never changes the update."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_share: Share = 0.05
    """Share of all updates over which the rate rises from 0."""
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    betas: tuple[ShareBelowOne, ShareBelowOne] = (0.9, 0.999)
    epsilon: Annotated[float, Field(gt=0.0)] = 1e-8
    max_gradient_norm: Annotated[float, Field(gt=0.0)] | None = 1.0
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0

    @model_validator(mode="after")
    def _keeps_gradients_to_clip(self) -> OptimSection:
        if self.in_backward and self.max_gradient_norm is not None:
            raise ValueError(
                "in_backward drops each gradient before the length of all is known; set max_gradient_norm: null"
            )
        return self


def mixing_problems(optim: OptimSection, mixed: str) -> list[Problem]:
    """Return what keeps `optim.in_backward` from updates made of rows that are `mixed`, such as "of several tasks"."""
    if not optim.in_backward or optim.batch_size == 1:
        return []
    found = f"takes an update as one batch, and here its rows are {mixed}"
    return [Problem("optim.in_backward", found, remedy="leave out optim.in_backward")]


def in_the_way_of_in_backward(tuner: Tuner, micro_batch_tokens: int | None) -> list[Problem]:
    """Return what in the rest of a recipe keeps `optim.in_backward` from saving memory."""
    problems, where = [], "optim.in_backward"
    if not isinstance(tuner, WholeWeights):
        found = f"saves the memory of gradients, and tuner {tuner.kind} has few"
        problems.append(Problem(where, found, allowed="tuner full or partial", remedy=f"leave out {where}"))
    if micro_batch_tokens is not None:
        found = "takes every update at once: gradients of micro-batches would have to be kept"
        problems.append(Problem(where, found, remedy=f"leave out runtime.micro_batch_tokens or {where}"))
    return problems
