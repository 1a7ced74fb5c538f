"""The files that are checked together, as one run of rows: which number is which row of which file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tenfold.data.checking.damage import quoted
from tenfold.data.checking.finding import SHOWN_CHARACTERS
from tenfold.data.checking.said import shown_parts
from tenfold.data.checking.secrets import blanked
from tenfold.data.sources import Rows

_SECRET = 5_000
"""Characters around an example in which secrets are looked for: half of one has no shape that could be found."""


@dataclass(frozen=True)
class Side:
    """One file: its rows are those from `start` on."""

    source: str
    rows: Rows
    start: int
    is_test: bool
    has_namesake: bool
    """Whether another file has its name; then places begin with its path."""

    def place(self, origin: str) -> str:
        """Return where the row stands that its file says is at `origin`."""
        return self.source + origin.removeprefix(self.rows.name) if self.has_namesake else origin


@dataclass(frozen=True)
class Sides:
    """All files, those to train on first."""

    sides: Sequence[Side]

    @classmethod
    def of(cls, opened: Sequence[tuple[str, Rows]], *, num_test: int) -> Sides:
        """Return the files one after another; the last `num_test` are held out."""
        names = Counter(rows.name for _, rows in opened)
        sides, start = [], 0
        for number, (source, rows) in enumerate(opened):
            sides.append(Side(source, rows, start, number >= len(opened) - num_test, names[rows.name] > 1))
            start += len(rows)
        return cls(tuple(sides))

    def __len__(self) -> int:
        """How many rows all files have."""
        return sum(len(side.rows) for side in self.sides)

    def chunks(self) -> Iterator[tuple[Side, int, list[str], list[dict[str, object]]]]:
        """Yield (file, number of the first row, origins, rows), a chunk at a time."""
        for side in self.sides:
            start = side.start
            for origins, rows in side.rows.chunks():
                yield side, start, origins, rows
                start += len(rows)

    def side_of(self, row: int) -> Side:
        """Return the file that row number `row` is in."""
        starts = [side.start for side in self.sides]
        return self.sides[int(np.searchsorted(starts, row, side="right")) - 1]

    def place(self, row: int) -> str:
        """Return where row number `row` stands."""
        side = self.side_of(row)
        return side.place(side.rows.origin(row - side.start))

    def shown(self, row: int) -> str:
        """Return the beginning of what row number `row` says, secrets masked."""
        side = self.side_of(row)
        return shortened("  ".join(shown_parts(side.rows, side.rows.row(row - side.start))))

    def shown_end(self, row: int) -> str:
        """Return the end of the last text of row number `row`, secrets blanked."""
        side = self.side_of(row)
        text = shown_parts(side.rows, side.rows.row(row - side.start))[-1].rstrip()
        return shortened(text, len(text), len(text))

    def to_json(self) -> list[dict[str, object]]:
        """Return the files as JSON figures."""
        return [
            {"source": side.source, "rows": len(side.rows), "format": side.rows.format, "held_out": side.is_test}
            for side in self.sides
        ]


def shortened(text: str, start: int = 0, stop: int = 0) -> str:
    """Return a line of `text` to be shown: what is around `start` to `stop`, or its beginning; secrets are blanked."""
    first = max(0, start - _SECRET)
    near = blanked(text[first : stop + _SECRET]).replace("\t", " ").replace("\n", " ")
    begin = max(0, start - first - (SHOWN_CHARACTERS - (stop - start)) // 2)
    end = begin + SHOWN_CHARACTERS
    line = " ".join(quoted(near[begin:end]).split())
    return f"{'…' if first + begin else ''}{line}{'…' if first + end < len(text) else ''}"
