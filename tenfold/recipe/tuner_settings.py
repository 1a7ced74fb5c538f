"""What every kind of the tuner section has in common."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class TunerSettings(BaseModel):
    """What every tuner section shares: it is frozen, closed, and has a usual learning rate."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    learning_rate: ClassVar[float] = 2e-4
    largest_rate: ClassVar[float | None] = None
    """Where set, `learning_rate` is for hidden states of 4,096 numbers, and for narrower ones it grows up to this."""

    def usual_rate(self, width: int) -> float:
        """Return the peak learning rate for a model with hidden states of `width` numbers, where none is asked for.

        Source: Yang et al. 2022, "Tensor Programs V" (arXiv 2203.03466), table 3: Adam's rate of hidden layers goes
        with 1 / width.
        """
        if self.largest_rate is None:
            return self.learning_rate
        return min(self.largest_rate, self.learning_rate * 4096 / width)


class WholeWeights(TunerSettings):
    """Trains weights of the model itself."""

    learning_rate: ClassVar[float] = 2e-5
    """As full tuning of 7B models is published (Touvron et al. 2023, arXiv 2307.09288, section 3.1)."""
    largest_rate: ClassVar[float | None] = 1e-4
