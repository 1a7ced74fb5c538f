"""What there is to choose from, and what the cache holds."""

from __future__ import annotations

import shutil

from rich.table import Table

from tenfold.errors import Problem, UserError
from tenfold.paths import ROOMS, cache_root
from tenfold.places import others_in
from tenfold.recipe.tuners import TUNERS
from tenfold.techniques.technique import BUILTIN, find_technique
from tenfold.terminal.console import Console


def show_techniques() -> None:
    """Print the techniques with their summaries, then the tuners."""
    console = Console()
    table = Table(title="Techniques", title_justify="left", show_lines=True)
    for heading in ("technique", "what it does", "when to use it"):
        table.add_column(heading)
    for kind in BUILTIN:
        technique = find_technique(kind)
        table.add_row(kind, technique.summary, technique.when)
    console.print(table)
    tuners = Table(title="Tuners: what trains, with any technique that allows it", title_justify="left")
    tuners.add_column("tuner")
    tuners.add_column("what trains")
    for kind, settings in TUNERS.items():
        tuners.add_row(kind, (settings.__doc__ or "").strip().splitlines()[0])
    console.print(tuners)
    console.print("Start with: [bold]tenfold init instruction --data YOUR_FILE[/bold]")


def show_cache(*, clear: bool) -> None:
    """Print each part of the cache with its size; with `clear`, remove it all first.

    Raises:
        UserError: it is to be removed, and other files lie in its folder.
    """
    console = Console()
    root = cache_root()
    if clear:
        if others := others_in(root, *ROOMS):
            found = f"holds more than the cache: {others}"
            raise UserError(Problem(str(root), found, remedy="remove by hand what you do not need"))
        shutil.rmtree(root, ignore_errors=True)
    console.print(f"{root}", soft_wrap=True)
    for folder in sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        console.print(f"  {folder.name:<12} {size / 1e6:10.1f} MB")
