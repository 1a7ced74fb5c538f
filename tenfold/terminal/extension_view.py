"""What `tenfold extend` shows: the new tokens, and how much shorter text is with them."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from tenfold.extending import Extension
from tenfold.terminal.console import Console

SHOWN = 12
"""How many new tokens are shown."""


def show_extension(extension: Extension) -> None:
    """Print what was added, fertility before and after on held-out texts, and what to do next."""
    console = Console()
    added = extension.added
    examples = ", ".join(repr(token) for token in added[:SHOWN])
    console.print(f"{len(added):,} new tokens, such as {escape(examples)}")
    table = Table(box=None, pad_edge=False, title="Held-out texts", title_justify="left")
    for heading in ("", "before", "after"):
        table.add_column(heading, justify="right" if heading else "left")
    before, after = extension.before, extension.after
    table.add_row("tokens", f"{before.tokens:,}", f"{after.tokens:,}")
    table.add_row("tokens per word", f"{before.per_word:.2f}", f"{after.per_word:.2f}")
    table.add_row("tokens per character", f"{before.per_character:.3f}", f"{after.per_character:.3f}")
    console.print(table)
    console.print(f"\nModel: [bold]{escape(str(extension.folder))}[/bold]", soft_wrap=True)
    console.print("Next: name it as model.name in a recipe with `tuner: full`, so that the new embeddings are learned.")
