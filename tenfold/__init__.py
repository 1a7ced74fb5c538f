"""Tenfold: ten ways to fine-tune a language model, one engine, measured side by side.

Three lines are a whole run:

    import tenfold
    recipe = tenfold.Recipe(model={"name": "smollm2-135m-instruct"}, data={"train": "rows.jsonl"})
    artifact = tenfold.run(recipe)

Importing this package imports neither torch nor transformers; `run` and `Artifact` do when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Artifact", "Recipe", "__version__", "load_recipe", "run"]

if TYPE_CHECKING:
    from tenfold.artifact import Artifact
    from tenfold.recipe import Recipe, load_recipe
    from tenfold.running import run

_HOMES = {
    "Recipe": "tenfold.recipe",
    "load_recipe": "tenfold.recipe",
    "run": "tenfold.running",
    "Artifact": "tenfold.artifact",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use, so that `import tenfold` stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tenfold' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
