"""Recipes, what `--set` changes in them, and files of comparisons."""

from __future__ import annotations

from fuzz.promise import Target
from fuzz.targets.place import scratch
from tenfold.compare.grid import load_grid
from tenfold.recipe import dump_recipe, load_recipe, parse_recipe, with_overrides


def _read(content: bytes) -> None:
    path = scratch() / "recipe.yaml"
    path.write_bytes(content)
    dump_recipe(load_recipe(path))


def _override(content: bytes) -> None:
    changes = content.decode(errors="surrogateescape").split("\n")
    parse_recipe(with_overrides({"model": "tiny", "technique": {"kind": "instruction"}}, changes))


def _grid(content: bytes) -> None:
    path = scratch() / "grid.yaml"
    path.write_bytes(content)
    load_grid(path)


TARGETS = (
    Target("recipe", "a recipe in YAML", _read, share=0.2),
    Target("override", "`--set` on the command line", _override, share=0.2),
    Target("grid", "a comparison's file", _grid, share=0.2),
)
