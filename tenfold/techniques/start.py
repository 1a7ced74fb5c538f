"""What a run starts from where the recipe's model alone does not say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tenfold.models.sources import ModelFiles


@dataclass(frozen=True)
class Start:
    """The model that trains, and what else decides the run."""

    files: ModelFiles
    needs: Mapping[str, str] = field(default_factory=dict)
    """A hash under each name, such as a teacher's."""
