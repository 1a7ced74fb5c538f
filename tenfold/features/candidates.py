"""The table of all estimators, layers and poolings that a fit tried, as it lies beside the one that was chosen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tenfold.errors import ArtifactError, Problem

CANDIDATES = "candidates.json"


def read_candidates(folder: Path) -> Mapping[str, Any]:
    """Return the table of all that was tried, as `FeatureFit.make` wrote it.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    path = folder / CANDIDATES
    try:
        table: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if all(key in table for key in ("metric", "folds", "best", "seconds", "candidates")):
            return table
        reason = "entries are missing"
    except (OSError, ValueError, TypeError) as error:
        reason = str(error)
    raise ArtifactError(Problem(str(path), f"damaged: {reason}", remedy="run the recipe again"))
