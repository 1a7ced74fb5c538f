"""Whether a tuner will fit a model, found out without the model's weights."""

from __future__ import annotations

from torch import nn

from tenfold.errors import RecipeError
from tenfold.tuning.tuner import Tuner


def rehearse(tuner: Tuner, outline: nn.Module) -> None:
    """Attach `tuner` to a model without weights (which is then of no further use), so that misfits show early.

    What needs the weights themselves, such as PiSSA's start from them, cannot be tried and is left for the run.

    Raises:
        ModelError: a target module does not exist.
        RecipeError: PEFT does not accept the options for this model.
    """
    try:
        tuner.attach(outline)
    except RuntimeError:
        return
    except RecipeError as error:
        # torch says with a RuntimeError that a weight has no values here; PEFT's own refusals are of other types
        if not isinstance(error.__cause__, RuntimeError):
            raise
