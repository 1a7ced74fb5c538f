"""The notice that a recipe lets a model bring its own Python code along."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from tenfold.recipe import ModelSection


def announce_remote_code(section: ModelSection) -> None:
    """Say on standard error that the model's own code will run, if the recipe allows it."""
    if section.trust_remote_code:
        Console(stderr=True).print(
            f"[bold red]running Python code that comes with {escape(section.name)}[/bold red]", soft_wrap=True
        )
