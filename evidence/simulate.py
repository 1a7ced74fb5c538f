"""How often does a ranking err? `python -m evidence.simulate` ranks made-up entrants whose truth is known.

Every item is right with a chance of its own that all entrants share (a hard row is hard for all), plus a part of each
entrant's own, plus what a training seed adds to all of the entrant's items.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tenfold.compare.ranking import Standing, rank
from tenfold.evaluation.scorecard import Measure

PAGE = Path(__file__).parent.parent / "docs" / "comparing.md"
BEGIN, END = (
    "<!-- Written by `python -m evidence.simulate`: change that, not this. -->",
    "<!-- End of what it wrote. -->",
)

HARDEST, EASIEST = 0.06, 0.84
TRUTH = HARDEST + (EASIEST - HARDEST) * 2 / 3
"""The accuracy over all items that might be drawn: a Beta(1, 1/2) has the mean 2/3."""

BEST = "entrant 0"


@dataclass(frozen=True)
class World:
    """What is true: `lift` is how much better the first entrant is than the others, who are all alike."""

    num_entrants: int
    num_seeds: int
    num_items: int = 150
    seed_spread: float = 0.0
    """Standard deviation over training seeds of an entrant's accuracy."""
    lift: float = 0.0
    unsteady: float = 1.0
    """How many times as much the last entrant's seeds scatter as the others'."""

    def draw(self, generator: np.random.Generator) -> dict[str, list[Measure]]:
        """Return what one comparison in this world could have measured."""
        shape = (self.num_entrants, self.num_seeds, self.num_items)
        easy = HARDEST + (EASIEST - HARDEST) * generator.beta(1.0, 0.5, self.num_items)
        own = generator.uniform(-0.05, 0.05, (self.num_entrants, 1, self.num_items))
        seeds = self.seed_spread * generator.standard_normal((self.num_entrants, self.num_seeds, 1))
        seeds[-1] *= self.unsteady
        lifts = self.lift * (np.arange(self.num_entrants) == 0)[:, None, None]
        right = (generator.random(shape) < easy + own + seeds + lifts).astype(float)
        return {
            f"entrant {number}": [Measure("accuracy", "share", True, tuple(items)) for items in runs]
            for number, runs in enumerate(right.tolist())
        }


@dataclass(frozen=True)
class Rates:
    """Shares of the comparisons in one world."""

    false_winner: float
    """One entrant called clearly better than all others that is not."""
    false_difference: float
    """Any entrant called clearly worse than a leader that is not better."""
    coverage: float
    """Intervals of the scores of those who are alike that hold the truth."""
    winner: float
    """The first entrant called clearly better than all others."""
    told: float
    """Others called clearly worse than the first entrant."""


def rates(world: World, *, comparisons: int, seed: int = 0) -> Rates:
    """Return what ranking makes of so many comparisons drawn from `world`."""
    generator = np.random.default_rng(seed)
    tables = [rank(world.draw(generator), seed=number) for number in range(comparisons)]
    tied = [sum(row.is_tied for row in table) for table in tables]
    led = [world.lift > 0 and table[0].name == BEST for table in tables]
    pairs = list(zip(tied, led, strict=True))
    alike = [row for table in tables for row in table if not (world.lift and row.name == BEST)]
    return Rates(
        false_winner=_share(count == 1 and not right for count, right in pairs),
        false_difference=_share(count < world.num_entrants and not right for count, right in pairs),
        coverage=_share(_holds(row) for row in alike),
        winner=_share(count == 1 and right for count, right in pairs),
        told=_share(right and not row.is_tied for table, right in zip(tables, led, strict=True) for row in table[1:]),
    )


def _share(hits: Iterable[bool]) -> float:
    return float(np.mean(list(hits)))


def _holds(row: Standing) -> bool:
    return row.score.low <= TRUTH <= row.score.high


TIED = (
    *(World(number, 1) for number in (2, 5, 10)),
    *(World(number, 3, seed_spread=0.02) for number in (2, 5, 10)),
    *(World(5, seeds, seed_spread=0.05) for seeds in (2, 5)),
    World(5, 3, seed_spread=0.02, unsteady=4.0),
    World(5, 3, seed_spread=0.02, lift=0.01),
    World(5, 1, seed_spread=0.05),
)
PLANTED = (
    *(World(number, 3, 300, seed_spread=0.02, lift=0.1) for number in (2, 5, 10)),
    World(2, 5, 300, seed_spread=0.02, lift=0.1),
    World(5, 1, 300, lift=0.1),
)


def tables(comparisons: int) -> str:
    """Return the two tables of the page, each world's rates in a row."""
    text = [
        "| entrants | seeds | rows | spread of seeds | truth | false winner | any false difference | intervals hold |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for world in TIED:
        found = rates(world, comparisons=comparisons)
        text.append(f"| {_shown(world)} | {_row(found.false_winner, found.false_difference, found.coverage)} |")
    text += [
        "",
        "| entrants | seeds | rows | spread of seeds | truth | called sole winner | of the others, told as worse |",
        "|---|---|---|---|---|---|---|",
    ]
    for world in PLANTED:
        found = rates(world, comparisons=comparisons)
        text.append(f"| {_shown(world)} | {_row(found.winner, found.told)} |")
    return "\n".join(text)


def _shown(world: World) -> str:
    truth = f"first better by {world.lift:g}" if world.lift else "all tied"
    if world.unsteady != 1:
        truth += f", one scatters {world.unsteady:g} times as much"
    return f"{world.num_entrants} | {world.num_seeds} | {world.num_items} | {world.seed_spread:g} | {truth}"


def _row(*shares: float) -> str:
    return " | ".join(f"{100 * share:.1f} %" for share in shares)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the tables into the page; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m evidence.simulate", description=__doc__)
    parser.add_argument("--comparisons", type=int, default=1000, help="how many of each world (default: %(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE, help="where to write (default: docs/comparing.md)")
    options = parser.parse_args(arguments)
    began = time.monotonic()
    made = tables(options.comparisons)
    note = f"`python -m evidence.simulate --comparisons {options.comparisons}`, numpy {np.__version__}; a share of 5 %"
    note += f" has a standard error of {100 * (0.05 * 0.95 / options.comparisons) ** 0.5:.1f} points."
    head, found, rest = options.page.read_text(encoding="utf-8").partition(BEGIN)
    assert found, f"{options.page} has no place for the tables"
    tail = rest.partition(END)[2]
    options.page.write_text(f"{head}{BEGIN}\n\n{note}\n\n{made}\n\n{END}{tail}", encoding="utf-8")
    print(f"{options.page}: {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
