"""A teacher's answers in bytes: K likely tokens for each of S supervised positions, in at most about 2 bytes a token.

Tokens are numbered anew by how often the data set's lessons name them, the most frequent first. In a position they are
sorted by that number, so the gaps between them are small and much alike, which is what deflate shortens.

    count        what
    2 S          log-probability of the most probable token, fp16
    2 S          of the least probable one of the K, fp16
    2 S          log of the mass of all others, fp16
    3 K S        gaps between the numbers, less one; all low bytes, then all middle ones, then all high ones
    K S          level of each log-probability, 0 to 63, evenly between least and most

and all of it deflated (RFC 1951). The K tokens are given the mass that the others leave when they are read, so what the
levels round away shifts no mass to or from the rest.

Shape letters: S supervised positions, K tokens, D tokens that any lesson names.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = 63
"""The highest level: 6 bits. Measured beside 5 and 8 bits in docs/decisions.md."""

LEAST_GAP_OF_LOGS = 1e-6
LARGEST_LOG = -1e-7
"""No mass is taken for all of it: its logarithm's complement must be a number."""

ALL = slice(None)

Array = NDArray[Any]


@dataclass(frozen=True)
class Numbering:
    """The tokens that lessons name, the most frequent first: number → token, and back."""

    tokens: Array  # [D] int32

    @classmethod
    def of_counts(cls, counts: Array) -> Numbering:
        """Return the numbering for tokens that are named `counts` [V] times; those never named have no number."""
        order = np.argsort(-counts, kind="stable").astype(np.int32)
        return cls(order[: int((counts > 0).sum())])

    def numbers(self, vocabulary: int) -> Array:
        """Return each token's number, [V] int64."""
        numbers = np.full(vocabulary, -1, dtype=np.int64)
        numbers[self.tokens] = np.arange(len(self.tokens))
        return numbers


def encode(ids: Array, log_probabilities: Array, log_rest: Array, numbers: Array) -> bytes:
    """Return the bytes of S positions: `ids` and `log_probabilities` [S, K], `log_rest` [S]."""
    numbered = numbers[ids]
    order = np.argsort(numbered, axis=1)
    numbered = np.take_along_axis(numbered, order, 1)
    values = np.take_along_axis(log_probabilities, order, 1).astype(np.float32)
    most = values.max(1).astype(np.float16)
    least = values.min(1).astype(np.float16)
    step = _step(least, most)
    levels = np.clip(np.rint((values - least.astype(np.float32)[:, None]) / step), 0, LEVELS).astype(np.uint8)
    gaps = np.diff(numbered, axis=1, prepend=-1) - 1
    planes = [((gaps >> shift) & 255).astype(np.uint8) for shift in (0, 8, 16)]
    parts = [most, least, log_rest.astype(np.float16), *planes, levels]
    return zlib.compress(b"".join(part.tobytes() for part in parts), 9)


def decode(blob: bytes, k: int, numbering: Numbering, wanted: slice = ALL) -> tuple[Array, Array, Array]:
    """Return `ids` [S, K] int64, `log_probabilities` [S, K] and `log_rest` [S] fp32 of the `wanted` positions."""
    data = zlib.decompress(blob)
    count = len(data) // (6 + 4 * k)
    heads = np.frombuffer(data, np.float16, 3 * count).reshape(3, count)[:, wanted]
    most, least, log_rest = heads.astype(np.float32)
    planes = np.frombuffer(data, np.uint8, 4 * k * count, offset=6 * count).reshape(4, count, k)[:, wanted]
    gaps = planes[0] + (planes[1].astype(np.int64) << 8) + (planes[2].astype(np.int64) << 16)
    ids = numbering.tokens[np.cumsum(gaps + 1, axis=1) - 1].astype(np.int64)
    values = least[:, None] + planes[3] * _step(least, most)
    log_rest = np.minimum(log_rest, np.float32(LARGEST_LOG))
    kept = np.log(-np.expm1(log_rest.astype(np.float64)))
    mass = np.log(np.exp(values.astype(np.float64)).sum(1))
    return ids, (values + (kept - mass)[:, None]).astype(np.float32), log_rest


def _step(least: Array, most: Array) -> Array:
    width = (most.astype(np.float32) - least.astype(np.float32)) / LEVELS
    return np.maximum(width, LEAST_GAP_OF_LOGS)[:, None]
