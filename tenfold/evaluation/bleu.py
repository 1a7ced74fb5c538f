"""Corpus BLEU from counts that are kept for each item, so that items can be drawn again and swapped.

Corpus BLEU is no mean over items: counts are summed first, and precision, brevity penalty and their product come after.
An interval or a test therefore resamples items, sums their counts anew and computes BLEU of the sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sacrebleu.metrics import BLEU

ORDERS = 4


def bleu_counts(predictions: Sequence[str], references: Sequence[str]) -> list[tuple[int, ...]]:
    """Return for each pair: length of prediction and reference in tokens, n-grams that match, n-grams there are.

    Ten numbers, for orders 1 to 4, over tokens of mteval 13a, by the `sacrebleu` package.
    """
    scorer = _scorer()
    scores = [
        scorer.corpus_score([prediction], [[reference]])
        for prediction, reference in zip(predictions, references, strict=True)
    ]
    return [(score.sys_len, score.ref_len, *score.counts, *score.totals) for score in scores]


def bleu_of(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return BLEU / 100 of summed counts, [R] from [R, 10].

    Orders without a match count as a half, a quarter, … of one match.

    Source: Papineni et al. 2002 (BLEU, aclanthology.org/P02-1040), section 2.3; smoothing of orders without a match:
    Chen & Cherry 2014 (aclanthology.org/W14-3346), method 3, as `sacrebleu` has it by default.
    """
    length, wanted = counts[:, 0], counts[:, 1]
    matches, there = counts[:, 2 : 2 + ORDERS].copy(), counts[:, 2 + ORDERS :]
    empty = (matches == 0) & (there > 0)
    matches[empty] = (0.5 ** np.cumsum(empty, axis=1))[empty]
    is_measured = (there > 0).all(axis=1) & (counts[:, 2 : 2 + ORDERS].sum(axis=1) > 0)
    precisions = np.log(np.where(there > 0, matches, 1.0) / np.maximum(there, 1.0)).mean(axis=1)
    brevity = np.minimum(0.0, 1.0 - wanted / np.maximum(length, 1e-9))
    return np.where(is_measured, np.exp(precisions + brevity), 0.0)


@lru_cache(maxsize=1)
def _scorer() -> BLEU:
    from sacrebleu.metrics import BLEU

    return BLEU()
