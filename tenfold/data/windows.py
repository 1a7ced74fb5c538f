"""In which order rows are met, and how the rows of one update are cut into micro-batches.

Both are pure functions of the seed and the update's number, so a run resumes with nothing but that number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from tenfold.data.batch import Window
from tenfold.data.prepare import Prepared

MICRO_BATCH_TOKENS = 4096
"""Tokens of a micro-batch where neither the recipe nor the device asks for fewer."""

ALL_AT_ONCE = 10**9
"""More tokens than any window has."""


class WindowSource(Protocol):
    """Where the engine takes the rows of each update from: one table (`Windows`), or several in a mixture."""

    @property
    def micro_batch_tokens(self) -> int:
        """The bound on the tokens of one micro-batch."""
        ...

    @property
    def content(self) -> object:
        """All that decides which rows make which update, as plain values."""
        ...

    def window(self, update: int) -> Window:
        """Return the micro-batches of update number `update` (from 0)."""
        ...

    def with_micro_batch_tokens(self, tokens: int) -> WindowSource:
        """Return the same windows with another bound on a micro-batch."""
        ...

    def padded(self, is_padded: bool) -> WindowSource:
        """Return the same windows for a model that pads rows (or packs them)."""
        ...

    def over_ranks(self, count: int) -> WindowSource:
        """Return the same windows with micro-batches for `count` processes, about as much for each."""
        ...

    def origin(self, row: int) -> str:
        """Return where a row of a batch stands, for messages."""
        ...


FIRST_ROWS = 2**31
"""Seeds the order of `Windows.of_first`; no epoch has this number."""


@dataclass(frozen=True)
class Windows:
    """The update windows over `prepared`: `batch_size` rows each, in a new order every epoch.

    An epoch's last window may be shorter. `micro_batch_tokens` bounds the tokens of one micro-batch; a row
    that is longer by itself is a micro-batch of its own. It changes memory and speed, never which rows make
    an update. Where the model pads rows instead of packing them (`is_padded`), padding counts as tokens too. Nor do
    `ranks`, the processes that a window's micro-batches are made for.
    """

    prepared: Prepared
    batch_size: int
    micro_batch_tokens: int
    seed: int
    is_padded: bool = False
    ranks: int = 1

    @cached_property
    def updates_per_epoch(self) -> int:
        """Windows that meet every row once."""
        return math.ceil(len(self.prepared) / self.batch_size)

    def total_updates(self, epochs: float, max_updates: int | None = None) -> int:
        """Updates in so many epochs (a part of a window counts as one), but at most `max_updates`."""
        # 0.1 * 30 is 3.0000000000000004: without the slack, rounding noise would add an update.
        updates = max(1, math.ceil(epochs * self.updates_per_epoch - 1e-6))
        return updates if max_updates is None else min(updates, max_updates)

    def window(self, update: int) -> Window:
        """Return the micro-batches of update number `update` (from 0), over as many epochs as that takes."""
        epoch, place = divmod(update, self.updates_per_epoch)
        start = place * self.batch_size
        count = min(self.batch_size, len(self.prepared) - start)
        return self.met(epoch * len(self.prepared) + start, count)

    def met(self, start: int, count: int) -> Window:
        """Return the rows that `stream` has there, cut into micro-batches, each drawn as its epoch has it."""
        epochs = [place // len(self.prepared) for place in range(start, start + count)]
        return self.cut(self.stream(start, count), epochs)

    def stream(self, start: int, count: int) -> list[int]:
        """Return `count` rows of the endless stream of epochs from place `start` on, as places in the table."""
        rows: list[int] = []
        while len(rows) < count:
            epoch, place = divmod(start + len(rows), len(self.prepared))
            rows += self._order(epoch)[place : place + count - len(rows)].tolist()
        return rows

    def cut(self, indices: list[int], epochs: Sequence[int] = ()) -> Window:
        """Return the rows at `indices` of the table, met in `epochs` (all in the first, if none), in micro-batches."""
        drawn = zip(self.prepared.entries(indices), epochs or [0] * len(indices), strict=True)
        entries = [entry._replace(draw=(self.seed, epoch)) for entry, epoch in drawn]
        lengths = [entry.num_positions for entry in entries]
        bins = pack_bins(lengths, self.micro_batch_tokens, is_padded=self.is_padded, ranks=self.ranks)
        return Window(tuple(self.prepared.batch([entries[place] for place in members]) for members in bins))

    @property
    def content(self) -> object:
        """All that decides which rows make which update, as plain values."""
        return [self.prepared.fingerprint, self.batch_size, self.micro_batch_tokens, self.seed]

    def of_first(self, count: int) -> Windows:
        """Return windows over `count` rows alone, the first of a seeded order: more rows include those of fewer."""
        order = np.random.default_rng([self.seed, FIRST_ROWS]).permutation(len(self.prepared))
        return replace(self, prepared=self.prepared.select(sorted(order[:count].tolist())))

    def with_micro_batch_tokens(self, tokens: int) -> Windows:
        """Return the same windows with another bound on a micro-batch (after running out of memory)."""
        return replace(self, micro_batch_tokens=tokens)

    def padded(self, is_padded: bool) -> Windows:
        """Return the same windows for a model that pads rows (or packs them)."""
        return replace(self, is_padded=is_padded)

    def over_ranks(self, count: int) -> Windows:
        """Return the same windows with micro-batches for `count` processes, about as much for each."""
        return replace(self, ranks=count)

    def origin(self, row: int) -> str:
        """Where a row of a batch stands, for messages: `orders.jsonl, line 3`."""
        return self.prepared.origin(row)

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._last_order:
            self._last_order.clear()
            self._last_order[epoch] = np.random.default_rng([self.seed, epoch]).permutation(len(self.prepared))
        return self._last_order[epoch]

    @cached_property
    def _last_order(self) -> dict[int, np.ndarray]:
        # One epoch's order: to permute a million rows takes a while, and an epoch has many windows.
        return {}


def pack_bins(lengths: list[int], budget: int, *, is_padded: bool = False, ranks: int = 1) -> list[list[int]]:
    """Return bins of places in `lengths`, as few as dealing them out or filling them first-fit finds.

    Where `ranks` share them, there are as many more as give each of them as many bins, of about the same size.

    A bin holds at most `budget`, but for a length above it, which is alone in its bin; if `is_padded`, each length
    takes as much as the longest in its bin. Without padding, first-fit decreasing needs at most 11/9 of the fewest
    possible bins, and one; dealt out evenly, the fullest, which decides the memory, is smaller. Source: Johnson 1973,
    "Near-optimal bin packing algorithms".
    """
    whole = max(lengths, default=0) * len(lengths) if is_padded else sum(lengths)
    bins = _first_fit(lengths, min(budget, math.ceil(whole / ranks)), is_padded=is_padded)
    if is_padded:
        return bins
    fewest, most = (math.ceil(count / ranks) * ranks for count in (max(1, math.ceil(whole / budget)), len(bins)))
    for num_bins in range(fewest, most + 1, ranks):
        level = _dealt_out(lengths, min(num_bins, len(lengths)))
        if _fullest(lengths, level) <= budget:
            return level
    return bins


def _fullest(lengths: list[int], bins: list[list[int]]) -> int:
    return max(sum(lengths[place] for place in members) for members in bins)


def _dealt_out(lengths: list[int], num_bins: int) -> list[list[int]]:
    """Return `num_bins` bins; from the longest down, each length goes where least is. Source: Graham 1969."""
    bins: list[list[int]] = [[] for _ in range(num_bins)]
    loads = [0] * num_bins
    for place in _longest_first(lengths):
        emptiest = loads.index(min(loads))
        bins[emptiest].append(place)
        loads[emptiest] += lengths[place]
    return bins


def _longest_first(lengths: list[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))


def _first_fit(lengths: list[int], budget: int, *, is_padded: bool) -> list[list[int]]:
    bins: list[list[int]] = []
    room: list[int] = []
    for place in _longest_first(lengths):
        costs = [lengths[members[0]] if is_padded else lengths[place] for members in bins]
        fitting = next((number for number, cost in enumerate(costs) if cost <= room[number]), None)
        if fitting is None:
            bins.append([place])
            room.append(budget - lengths[place])
        else:
            bins[fitting].append(place)
            room[fitting] -= costs[fitting]
    return bins
