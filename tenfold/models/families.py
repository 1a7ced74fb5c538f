"""Which families of models learn from rows of a format; imports nothing heavy, for those who only ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenfold.data.formats import LABELLED
from tenfold.errors import DataError, Problem

if TYPE_CHECKING:
    from tenfold.models.architecture import Family


def require_family(format: str, family: Family) -> None:
    """Refuse rows that models of this family do not learn from; raises `DataError`."""
    allowed: tuple[Family, ...] = ("decoder", "encoder_decoder")
    if format in LABELLED:
        allowed = ("decoder", "encoder")
    elif format == "speech":
        allowed = ("speech_encoder_decoder", "speech_encoder")
    elif format == "text":
        allowed = ("decoder", "encoder")
    if family not in allowed:
        answered = "with labels" if format in LABELLED else "in words"
        found = f"rows of format {format} are answered {answered}, and the model is of the family {family}"
        remedy = f"choose a model of another family ({', '.join(allowed)})"
        if format not in LABELLED and family == "encoder":
            remedy += ", or raw text, or rows with labels (columns text and label; `columns` maps yours)"
        raise DataError(Problem("data", found, remedy=remedy))
