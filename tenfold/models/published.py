"""Is a name that of a model which somebody gave out? Its training is nobody's cost here, unlike that of an own run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tenfold.models.sources import BUILTIN


def is_published(name: str) -> bool:
    """Return whether `name` is that of a built-in model, one in a file or folder here, or a hub's in its cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    if name in BUILTIN or Path(name).expanduser().exists():
        return True
    with suppress(HFValidationError):  # by its look a path, and no hub's id
        return isinstance(try_to_load_from_cache(name, "config.json"), str)
    return False
