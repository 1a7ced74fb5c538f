"""How right are labels, and how honest are the probabilities? Measures of classes, label sets and numbers.

Shape letters: N rows, C labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tenfold.evaluation.scorecard import Measure

Probabilities = Sequence[Sequence[float]]
"""[N, C]."""

_LEAST = 1e-12
"""A probability of zero would cost infinitely much: below this all cost the same."""


def class_measures(probabilities: Probabilities, wanted: Sequence[int]) -> list[Measure]:
    """Return accuracy, macro F1, negative log likelihood, Brier score and calibration error of classes.

    Source: Brier 1950, equation 2, for the Brier score (in [0, 2], over all classes); Guo et al. 2017 (arXiv
    1706.04599), equation 3, for the calibration error.
    """
    answered = [most_probable(row) for row in probabilities]
    right = [float(found == right) for found, right in zip(answered, wanted, strict=True)]
    confidence = [row[place] for row, place in zip(probabilities, answered, strict=True)]
    rows = list(zip(probabilities, wanted, strict=True))
    return [
        Measure("accuracy", "share", True, tuple(right)),
        Measure.pooled("macro_f1", list(zip(wanted, answered, strict=True)), by="macro_f1", unit="share"),
        Measure(
            "negative_log_likelihood",
            "nats",
            False,
            tuple(-math.log(max(row[place], _LEAST)) for row, place in rows),
        ),
        Measure(
            "brier_score",
            "squared probability",
            False,
            tuple(sum((p - (n == place)) ** 2 for n, p in enumerate(row)) for row, place in rows),
        ),
        Measure.pooled(
            "calibration_error",
            list(zip(confidence, right, strict=True)),
            by="calibration_error",
            unit="share",
            higher_is_better=False,
        ),
    ]


def label_measures(
    probabilities: Probabilities, wanted: Sequence[Sequence[float]], *, thresholds: Sequence[float]
) -> list[Measure]:
    """Return micro F1, macro F1, exact matches, negative log likelihood and Brier score of sets of labels.

    `thresholds` has the probability from which each label is answered; the last two are means over the labels.
    """
    answered = [[float(p >= least) for p, least in zip(row, thresholds, strict=True)] for row in probabilities]
    rows = list(zip(wanted, answered, strict=True))
    scored = list(zip(probabilities, wanted, strict=True))
    codes = [[right + 2 * found for right, found in zip(*row, strict=True)] for row in rows]
    return [
        Measure.pooled("micro_f1", [_found(*row) for row in rows], by="micro_f1", unit="share"),
        Measure.pooled("macro_f1", codes, by="label_macro_f1", unit="share"),
        Measure("accuracy", "share", True, tuple(float(list(right) == found) for right, found in rows)),
        Measure("negative_log_likelihood", "nats", False, tuple(_binary_loss(*row) for row in scored)),
        Measure(
            "brier_score",
            "squared probability",
            False,
            tuple(sum((p - right) ** 2 for p, right in zip(*row, strict=True)) / len(row[0]) for row in scored),
        ),
    ]


def number_measures(answered: Sequence[float], wanted: Sequence[float]) -> list[Measure]:
    """Return mean absolute error, R² and Pearson's correlation; those two only where the wanted numbers differ."""
    pairs = list(zip(answered, wanted, strict=True))
    measures = [
        Measure("mean_absolute_error", "as the target", False, tuple(abs(found - right) for found, right in pairs)),
        Measure.pooled("r_squared", pairs, by="r_squared", unit="share of variance"),
        Measure.pooled("pearson", pairs, by="pearson", unit="correlation"),
    ]
    return [measure for measure in measures if not math.isnan(measure.value)]


def most_probable(row: Sequence[float]) -> int:
    """Return the place of the highest value, the first of several."""
    return max(range(len(row)), key=lambda place: (row[place], -place))


def _found(wanted: Sequence[float], answered: Sequence[float]) -> tuple[float, float, float]:
    """Return how many labels were found, spurious, missed."""
    found = sum(a * b for a, b in zip(wanted, answered, strict=True))
    return found, sum(answered) - found, sum(wanted) - found


def _binary_loss(probabilities: Sequence[float], wanted: Sequence[float]) -> float:
    pairs = zip(probabilities, wanted, strict=True)
    return -sum(math.log(max(p if right else 1 - p, _LEAST)) for p, right in pairs) / len(wanted)
