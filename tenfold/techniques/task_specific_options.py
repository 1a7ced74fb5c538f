"""The settings of task-specific tuning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from tenfold.techniques.technique import Options


class TaskSpecificOptions(Options):
    """Settings of task-specific tuning."""

    in_search: ClassVar[Mapping[str, Any]] = {"baselines": False}

    domain: str | None = None
    """Raw text of the domain to go on with before the task (decoders): a source with a column `text`."""
    domain_epochs: float = Field(default=1.0, gt=0.0, le=100.0)
    domain_updates: int | None = Field(default=None, ge=1)
    """Stop the domain's stage after this many updates."""
    compare_domain: bool = False
    """Also train on the task without the domain's stage: one stage and one scoring more."""
    baselines: bool = True
    """Also score the model as it is, the model shown examples, and the words alone, on the same test rows."""
    shots: int = Field(default=2, ge=1, le=64)
    """Examples of each class that the model is shown."""
    calibrate: bool = True
    """Scale probabilities by a temperature chosen on the validation rows, where there are any."""
    threshold: bool = True
    """Choose the threshold of sets of labels on the validation rows, where there are any, in place of one half."""
