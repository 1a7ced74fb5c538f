"""What a person should know of the model before it is opened: that its own code will run, that it must be fetched."""

from __future__ import annotations

from rich.markup import escape

from tenfold.models.sources import first_use
from tenfold.recipe import ModelSection
from tenfold.terminal.console import Console


def announce_model(section: ModelSection) -> None:
    """Say on standard error that the model's own code will run, if the recipe allows it, and what takes a while."""
    console = Console(stderr=True, highlight=False)
    if section.trust_remote_code:
        console.print(
            f"[bold red]running Python code that comes with {escape(section.name)}[/bold red]", soft_wrap=True
        )
    if waiting := first_use(section):
        console.print(escape(waiting), style="dim", soft_wrap=True)
