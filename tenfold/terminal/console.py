"""The terminal that commands print to: no text of rows, answers or names moves its cursor."""

from __future__ import annotations

from collections.abc import Iterable

from rich import console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from tenfold.plain import on_screen


class Console(console.Console):
    """Rich's, but that control characters in what is printed are shown as signs; Rich's own colours stay."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Return what is printed, piece by piece."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=on_screen(segment.text))
