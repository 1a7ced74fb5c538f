"""Several tasks in one training: in what shares their rows are met, and which rows make which update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from tenfold.data.batch import Batch, Window
from tenfold.data.windows import Windows


def temperature_shares(sizes: Sequence[int], *, temperature: float, max_examples: int) -> tuple[float, ...]:
    """Return each task's share of the rows: proportional to min(size, `max_examples`) ** (1 / `temperature`).

    At temperature 1 tasks are met in proportion to their rows, at a high one equally often.

    Source: Raffel et al. 2020, "T5" (arXiv 1910.10683), section 3.5.2.
    """
    parts = [min(size, max_examples) ** (1 / temperature) for size in sizes]
    return tuple(part / sum(parts) for part in parts)


def apportioned(total: int, shares: Sequence[float]) -> tuple[int, ...]:
    """Return whole numbers that sum to `total`, each within one of its share of it (largest remainders first).

    A share above zero gets at least 1 where `total` is large enough for that.
    """
    exact = [share * total for share in shares]
    counts = [math.floor(each) for each in exact]
    by_remainder = sorted(range(len(shares)), key=lambda place: (counts[place] - exact[place], place))
    for place in by_remainder[: total - sum(counts)]:
        counts[place] += 1
    for place, share in enumerate(shares):
        largest = max(range(len(counts)), key=lambda other: counts[other])
        if share > 0 and counts[place] == 0 and counts[largest] > 1:
            counts[place] += 1
            counts[largest] -= 1
    return tuple(counts)


@dataclass(frozen=True)
class Mixture:
    """Update windows of `batch_size` rows over several tables, every epoch with `rows_per_epoch` rows of each.

    The rows of all tables are shuffled over the updates of an epoch, so an update holds each in its share on
    average, and an epoch exactly. Each table is met in its own order, again from the start once all its rows were
    met. A batch holds rows of one table only. A row's number is its number in its table plus all rows of those before.
    """

    sources: tuple[Windows, ...]
    rows_per_epoch: tuple[int, ...]
    batch_size: int
    seed: int

    @property
    def micro_batch_tokens(self) -> int:
        """The bound on the tokens of one micro-batch."""
        return self.sources[0].micro_batch_tokens

    @property
    def updates_per_epoch(self) -> int:
        """Windows of one epoch; the last one may be shorter."""
        return math.ceil(sum(self.rows_per_epoch) / self.batch_size)

    def total_updates(self, epochs: float, max_updates: int | None = None) -> int:
        """Updates in so many epochs (a part of a window counts as one), but at most `max_updates`."""
        updates = max(1, math.ceil(epochs * self.updates_per_epoch - 1e-6))  # the slack is for rounding noise
        return updates if max_updates is None else min(updates, max_updates)

    @property
    def content(self) -> object:
        """All that decides which rows make which update, as plain values."""
        return [[source.content for source in self.sources], self.rows_per_epoch, self.batch_size, self.seed]

    def window(self, update: int) -> Window:
        """Return the micro-batches of update number `update` (from 0), over as many epochs as that takes."""
        epoch, place = divmod(update, self.updates_per_epoch)
        start, stop = place * self.batch_size, (place + 1) * self.batch_size
        order = self._order(epoch)
        batches: list[Batch] = []
        for number, source in enumerate(self.sources):
            count = int((order[start:stop] == number).sum())
            if count:
                met = epoch * self.rows_per_epoch[number] + int((order[:start] == number).sum())
                window = source.met(met, count)
                batches += [self._renumbered(batch, self._offsets[number]) for batch in window.batches]
        return Window(tuple(batches))

    def with_micro_batch_tokens(self, tokens: int) -> Mixture:
        """Return the same windows with another bound on a micro-batch (after running out of memory)."""
        return replace(self, sources=tuple(source.with_micro_batch_tokens(tokens) for source in self.sources))

    def padded(self, is_padded: bool) -> Mixture:
        """Return the same windows for a model that pads rows (or packs them)."""
        return replace(self, sources=tuple(source.padded(is_padded) for source in self.sources))

    def over_ranks(self, count: int) -> Mixture:
        """Return the same windows with micro-batches for `count` processes, about as much for each."""
        return replace(self, sources=tuple(source.over_ranks(count) for source in self.sources))

    def origin(self, row: int) -> str:
        """Where a row of a batch stands, for messages: `orders.jsonl, line 3`."""
        number = max(place for place, offset in enumerate(self._offsets) if offset <= row)
        return self.sources[number].origin(row - self._offsets[number])

    @cached_property
    def _offsets(self) -> list[int]:
        sizes = [len(source.prepared) for source in self.sources]
        return [sum(sizes[:number]) for number in range(len(sizes))]

    @staticmethod
    def _renumbered(batch: Batch, offset: int) -> Batch:
        return replace(batch, rows=tuple(row + offset for row in batch.rows))

    def _order(self, epoch: int) -> np.ndarray:
        """Return which table each place of the epoch takes its row from, as numbers of `sources`."""
        if epoch not in self._last_order:
            self._last_order.clear()
            tables = np.repeat(np.arange(len(self.sources), dtype=np.int32), self.rows_per_epoch)
            self._last_order[epoch] = np.random.default_rng([self.seed, epoch]).permutation(tables)
        return self._last_order[epoch]

    @cached_property
    def _last_order(self) -> dict[int, np.ndarray]:
        return {}
