"""What a run starts from where the recipe's model alone does not say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from tenfold.files import sha256_file
from tenfold.models.sources import ModelFiles


@dataclass(frozen=True)
class Start:
    """The model that trains, and what else decides the run."""

    files: ModelFiles
    needs: Mapping[str, str] = field(default_factory=dict)
    """A hash under each name, such as a teacher's."""


def own_code(kind: str) -> dict[str, str]:
    """Return the hash of the file of a technique of one's own (`module:NAME`); none of a built-in one.

    Changed code is another run; of Tenfold's own the stages' fingerprints hold the version.
    """
    module, colon, _ = kind.partition(":")
    found = find_spec(module) if colon else None
    if found is None or found.origin is None or not Path(found.origin).is_file():
        return {}
    return {f"technique ({kind})": sha256_file(Path(found.origin))}
