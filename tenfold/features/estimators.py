"""Which scikit-learn estimators may learn from features, by their own names and options; what does not fit is named."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators, get_tags

from tenfold.errors import Problem, nearest
from tenfold.features.estimator_files import to_bytes, untrusted_types

Form = Literal["class", "classes", "value"]
"""What is learned of a row: its class, all labels that apply, or a number."""

_TRIED_ROWS, _TRIED_COLUMNS = 96, 32


@dataclass(frozen=True)
class Wish:
    """An estimator as a recipe names it: scikit-learn's own name and options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The estimator for people to read."""
        return f"{self.name}({', '.join(f'{key}={value}' for key, value in self.options.items())})"


@cache
def catalogue() -> dict[str, type[BaseEstimator]]:
    """Return scikit-learn's classifiers and regressors by name."""
    return dict(all_estimators(type_filter=["classifier", "regressor"]))


def make_estimator(wish: Wish, form: Form, *, standardise: bool, seed: int) -> BaseEstimator:
    """Return the estimator, not fitted; one that draws random numbers draws them from `seed`.

    Where several labels may apply and the estimator knows only one, one is fitted for each label.
    """
    estimator = catalogue()[wish.name](**wish.options)
    if "random_state" in estimator.get_params() and "random_state" not in wish.options:
        estimator.set_params(random_state=seed % 2**32)
    if form == "classes" and not get_tags(estimator).classifier_tags.multi_label:
        estimator = OneVsRestClassifier(estimator)
    return make_pipeline(StandardScaler(), estimator) if standardise else estimator


def wish_problems(wish: Wish, where: str) -> list[Problem]:
    """Return what is wrong with a wish whatever the rows: its name, its options, or that it cannot be used at all.

    Values of options are judged by scikit-learn itself: the estimator is fitted to a few made-up rows.
    """
    known = catalogue()
    if wish.name not in known:
        others = "a classifier or regressor of scikit-learn, by its name"
        remedy = nearest(wish.name, known)
        return [Problem(f"{where}.name", f"scikit-learn has no estimator {wish.name!r}", others, remedy)]
    parameters = inspect.signature(known[wish.name]).parameters
    required = [name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty]
    if required:
        found = f"{wish.name} is made of other estimators, which a recipe cannot name"
        return [Problem(f"{where}.name", found, remedy="name those estimators one by one")]
    unknown = [name for name in wish.options if name not in parameters]
    if unknown:
        return [
            Problem(
                f"{where}.{name}",
                f"{wish.name} has no such option",
                allowed=", ".join(parameters) or "no options",
                remedy=nearest(name, parameters),
            )
            for name in unknown
        ]
    return _tried(wish, where)


def form_problems(wish: Wish, where: str, form: Form, *, num_outputs: int) -> list[Problem]:
    """Return a problem if the estimator cannot learn labels of this form."""
    estimator = catalogue()[wish.name](**wish.options)
    wanted = "regressor" if form == "value" else "classifier"
    if is_classifier(estimator) != (form != "value"):
        labels = {"class": "classes", "classes": "labels", "value": "numbers"}[form]
        found = f"{wish.name} is no {wanted}, and these rows have {labels}"
        remedy = "Ridge, for example" if form == "value" else "LogisticRegression, for example"
        return [Problem(f"{where}.name", found, f"a {wanted}", remedy)]
    if form == "class" and num_outputs > 2 and not get_tags(estimator).classifier_tags.multi_class:
        return [Problem(f"{where}.name", f"{wish.name} tells two classes apart, not {num_outputs}")]
    return []


def _tried(wish: Wish, where: str) -> list[Problem]:
    """Return why the estimator cannot be used, found by fitting it to made-up rows and writing it."""
    plain, problem = _fitted(Wish(wish.name))
    if plain is None:
        found = f"{wish.name} cannot learn from features, which are numbers of both signs: {problem}"
        return [Problem(f"{where}.name", found, remedy="choose another estimator")]
    fitted, problem = (plain, "") if not wish.options else _fitted(wish)
    if fitted is None:
        # only what scikit-learn says of the option itself: these rows are few, and what they forbid yours may allow
        return [Problem(where, problem)] if problem.startswith("The '") else []
    if is_classifier(fitted) and not _tells_how_sure(fitted):
        found = f"{wish.text} has neither a probability nor a decision value for each class, only answers"
        return [Problem(where, found, remedy="choose another estimator or other options")]
    unsafe = untrusted_types(to_bytes(fitted))
    if unsafe:
        found = f"{wish.text} cannot be saved without code that is not trusted: {', '.join(sorted(unsafe))}"
        return [Problem(where, found, remedy="choose another estimator or other options")]
    return []


def _tells_how_sure(estimator: BaseEstimator) -> bool:
    """Return whether the estimator says of every class how sure it is: what its calibration is measured by."""
    if hasattr(estimator, "predict_proba"):
        return True
    of_pairs = estimator.get_params().get("decision_function_shape") == "ovo"
    return hasattr(estimator, "decision_function") and not of_pairs


def _fitted(wish: Wish) -> tuple[BaseEstimator | None, str]:
    """Return the estimator fitted to made-up rows, or None and the first line of why it cannot be."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(_TRIED_ROWS, _TRIED_COLUMNS)).astype(np.float32)
    try:
        estimator = catalogue()[wish.name](**wish.options)
        targets = np.arange(len(rows)) % 2 if is_classifier(estimator) else rows[:, 0]
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            estimator.fit(rows, targets)
            estimator.predict(rows)
    except Exception as error:  # options come from users, and estimators raise whatever they like
        return None, (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return estimator, ""
