"""Make the evidence: `python -m evidence.prepare [NAME…]` fetches, converts, cuts and checks; all without a name.

What is there and whose hashes fit is not made again, so a run that was cut off is simply started once more.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from evidence.catalogue import PIECES
from evidence.page import write_page
from evidence.piece import Workshop, ensure, record
from tenfold.errors import Problem, TenfoldError, UserError, nearest

FOLDER = Path(__file__).parent
DATA = FOLDER / "data"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the named pieces, or all, and write their notes to SOURCES.md; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m evidence.prepare", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PIECES))
    parser.add_argument("--data", type=Path, default=DATA, help="where the pieces go (default: evidence/data)")
    parser.add_argument("--again", action="store_true", help="make the pieces again, from what was fetched")
    options = parser.parse_args(arguments)
    workshop = Workshop(options.data, options.data / "cache")
    try:
        prepare(options.names, workshop, again=options.again)
    except TenfoldError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    write_page(FOLDER / "SOURCES.md", workshop)
    return 0


def prepare(names: Sequence[str], workshop: Workshop, *, again: bool) -> None:
    """Make the pieces called `names` (all where there are none), telling about each; `again` makes them anew.

    Raises:
        TenfoldError: no piece has such a name, or one cannot be made.
    """
    unknown = [name for name in names if name not in PIECES]
    if unknown:
        raise UserError(
            *(Problem("NAME", f"no piece {name!r}", ", ".join(PIECES), nearest(name, PIECES)) for name in unknown)
        )
    for name in names or PIECES:
        piece = PIECES[name]
        folder = workshop.place(piece)
        if again:
            shutil.rmtree(folder, ignore_errors=True)
        started = time.monotonic()
        made = ensure(piece, workshop)
        took = f"made in {time.monotonic() - started:.0f} s" if made else "there"
        print(f"{piece.kind}/{name}: {took}; {record(folder)['facts']}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
