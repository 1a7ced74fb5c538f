"""Near-duplicates: MinHash signatures (rensa), cut into bands; rows that agree in a band are compared.

The similarity of two texts is the share of their runs of three words that both have (Jaccard). 126 hashes estimate it
with a standard error of 0.04 at 0.75. With 21 bands of 6, two texts of similarity 0.75 meet in some band with a
probability of 0.98, of 0.85 with 0.9999, of 0.3 with 0.02.

Source: Broder 1997, "On the resemblance and containment of documents"; banding after Leskovec, Rajaraman & Ullman,
"Mining of Massive Datasets", section 3.4; of each hash only 8 bits are kept to compare (Li & König 2010, "b-bit minwise
hashing"). Departure: within a bucket every row is compared with the first one only, so time stays linear.

Bands and hashes lie in files that are memory-mapped: 294 bytes a row, on disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tenfold.data.identity import hash_of

BANDS, ROWS_PER_BAND = 21, 6
NUM_HASHES = BANDS * ROWS_PER_BAND
SIMILAR = 0.75
"""From which estimated similarity on two rows are told as near-duplicates."""

_RUN = 3
_MOST_WORDS = 20_000  # of one text: a book in a row must not fill memory
_SEED = 20_26


@dataclass(frozen=True)
class Pair:
    """A row, an earlier one that it nearly repeats, and how similar they are by the estimate."""

    row: int
    earlier: int
    similarity: float


class Signatures:
    """The signatures of `num_rows` rows, in files in `folder`."""

    def __init__(self, folder: Path, num_rows: int) -> None:
        self._bands = np.memmap(folder / "bands", dtype=np.uint64, mode="w+", shape=(BANDS, num_rows))
        self._hashes = np.memmap(folder / "hashes", dtype=np.uint8, mode="w+", shape=(num_rows, NUM_HASHES))
        self._weights = np.random.default_rng(_SEED).integers(1, 2**63, ROWS_PER_BAND, dtype=np.uint64) | np.uint64(1)

    def add(self, start: int, contents: Sequence[tuple[str, str]]) -> None:
        """Sign the (content, within) of the rows from `start` on."""
        from rensa import RMinHash

        sets = [_runs(content, within) for content, within in contents]
        digests = RMinHash.digests_from_token_sets(sets, num_perm=NUM_HASHES, seed=_SEED)
        signatures = np.array(digests, dtype=np.uint64)  # [rows, hashes]
        stop = start + len(contents)
        self._hashes[start:stop] = (signatures & np.uint64(0xFF)).astype(np.uint8)
        bands = signatures.reshape(len(contents), BANDS, ROWS_PER_BAND)
        mixed = (bands + np.uint64(1)) * self._weights
        mixed ^= mixed >> np.uint64(29)
        self._bands[:, start:stop] = mixed.sum(axis=-1, dtype=np.uint64).T

    def pairs(self, rows: np.ndarray) -> Iterator[Pair]:
        """Yield each of `rows` (int64, ascending) that nearly repeats an earlier one of them, once, by its row."""
        best = np.zeros(len(rows), dtype=np.float32)
        partner = np.full(len(rows), -1, dtype=np.int64)
        for band in range(BANDS):
            keys = self._bands[band][rows]
            order = np.argsort(keys, kind="stable")  # stable: the first of a bucket is its earliest row
            ordered = keys[order]
            is_first = np.r_[True, ordered[1:] != ordered[:-1]] if len(rows) else np.zeros(0, dtype=bool)
            first = order[np.maximum.accumulate(np.where(is_first, np.arange(len(rows)), 0))]
            later, earlier = order[~is_first], first[~is_first]
            similarity = self._similarity(rows, later, earlier)
            better = similarity > best[later]
            best[later[better]], partner[later[better]] = similarity[better], earlier[better]
        for place in np.flatnonzero(best >= SIMILAR):
            yield Pair(int(rows[place]), int(rows[partner[place]]), float(best[place]))

    def _similarity(self, rows: np.ndarray, some: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Return the estimates for pairs of places in `rows`, [pairs] float32."""
        estimates = np.empty(len(some), dtype=np.float32)
        for start in range(0, len(some), 65_536):  # 16 MB at a time
            part = slice(start, start + 65_536)
            equal = self._hashes[rows[some[part]]] == self._hashes[rows[others[part]]]
            estimates[part] = (equal.mean(axis=1) - 1 / 256) / (1 - 1 / 256)
        return estimates


def _runs(content: str, within: str) -> list[str]:
    """Return the runs of three words; `within` is part of each, so rows of another context share none."""
    words = content.split(None, _MOST_WORDS)[:_MOST_WORDS]
    mark = f"{within}\x1e" if len(within) < 64 else f"{hash_of(within)}\x1e"
    if len(words) < _RUN:
        return [mark + " ".join(words)]
    return [f"{mark}{one} {two} {three}" for one, two, three in zip(words, words[1:], words[2:], strict=False)]
