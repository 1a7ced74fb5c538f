"""What every kind of the tuner section has in common."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class TunerSettings(BaseModel):
    """What every tuner section shares: it is frozen, closed, and has a default learning rate."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    learning_rate: ClassVar[float] = 2e-4
