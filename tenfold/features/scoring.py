"""A task metric on a fold's rows: what candidates are compared by, so that more is better."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.metrics import accuracy_score, f1_score, mean_absolute_error, r2_score

from tenfold.features.estimators import Form

Scoring = Callable[[np.ndarray, np.ndarray], float]
"""Of what was wanted and what was answered."""


def scoring_of(metric: str, form: Form) -> Scoring:
    """Return the function for a metric of labels; the form's own one where the name says nothing to it."""
    return _FUNCTIONS.get((form, metric), _FUNCTIONS[form, _OWN[form]])


def _macro_f1(wanted: np.ndarray, answered: np.ndarray) -> float:
    return float(f1_score(wanted, answered, average="macro", zero_division=0.0))


def _micro_f1(wanted: np.ndarray, answered: np.ndarray) -> float:
    return float(f1_score(wanted, answered, average="micro", zero_division=0.0))


def _accuracy(wanted: np.ndarray, answered: np.ndarray) -> float:
    return float(accuracy_score(wanted, answered))


def _negative_error(wanted: np.ndarray, answered: np.ndarray) -> float:
    return -float(mean_absolute_error(wanted, np.ravel(answered)))


def _r_squared(wanted: np.ndarray, answered: np.ndarray) -> float:
    return float(r2_score(wanted, np.ravel(answered)))


def _pearson(wanted: np.ndarray, answered: np.ndarray) -> float:
    x, y = np.ravel(answered) - np.mean(answered), wanted - np.mean(wanted)
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size else 0.0


_FUNCTIONS: dict[tuple[Form, str], Scoring] = {
    ("class", "accuracy"): _accuracy,
    ("class", "macro_f1"): _macro_f1,
    ("classes", "accuracy"): _accuracy,
    ("classes", "micro_f1"): _micro_f1,
    ("classes", "macro_f1"): _macro_f1,
    ("value", "mean_absolute_error"): _negative_error,
    ("value", "r_squared"): _r_squared,
    ("value", "pearson"): _pearson,
}

_OWN: dict[Form, str] = {"class": "accuracy", "classes": "micro_f1", "value": "mean_absolute_error"}
