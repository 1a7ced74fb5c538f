"""Estimators are scikit-learn's own; what is misspelt, unfit or unsafe to save is refused with what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tenfold.features.estimators import Form, Wish, form_problems, make_estimator, wish_problems


def rows(count: int = 60, width: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32) * 3 + 1


@pytest.mark.parametrize(
    ("name", "options", "where", "message"),
    [
        ("LogisticRegresion", {}, "technique.estimators.0.name", "LogisticRegression"),
        ("SVC", {"c": 1.0}, "technique.estimators.0.c", "no such option"),
        ("SVC", {"kernal": "rbf"}, "technique.estimators.0.kernal", "kernel"),
        ("SVC", {"C": -1.0}, "technique.estimators.0", "The 'C' parameter of SVC must be"),
        ("SVC", {"kernel": "rbv"}, "technique.estimators.0", "The 'kernel' parameter"),
        ("VotingClassifier", {}, "technique.estimators.0.name", "made of other estimators"),
        ("MultinomialNB", {}, "technique.estimators.0.name", "Negative values"),
        ("KNeighborsClassifier", {"algorithm": "kd_tree"}, "technique.estimators.0", "cannot be saved"),
        ("NearestCentroid", {"metric": "manhattan"}, "technique.estimators.0", "neither a probability nor a decision"),
        ("SVC", {"decision_function_shape": "ovo"}, "technique.estimators.0", "neither a probability nor a decision"),
        ("StandardScaler", {}, "technique.estimators.0.name", "no estimator"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(name: str, options: dict[str, Any], where: str, message: str) -> None:
    (problem,) = wish_problems(Wish(name, options), "technique.estimators.0")
    assert problem.where == where
    assert message in str(problem)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("LogisticRegression", {"C": 0.5, "max_iter": 50}),
        ("SVC", {"C": 2.0}),
        ("KNeighborsClassifier", {"n_neighbors": 500}),  # more than the made-up rows, perhaps not than yours
        ("RandomForestClassifier", {"n_estimators": 5}),
        ("HistGradientBoostingClassifier", {"max_iter": 5}),
        ("MLPClassifier", {"hidden_layer_sizes": [4], "max_iter": 5}),
        ("Ridge", {"alpha": 3.0}),
        ("SVR", {}),
    ],
)
def test_what_can_be_fitted_and_saved_is_accepted(name: str, options: dict[str, Any]) -> None:
    assert not wish_problems(Wish(name, options), "technique.estimators.0")


@pytest.mark.parametrize(
    ("name", "form", "num_outputs", "message"),
    [
        ("Ridge", "class", 3, "no classifier"),
        ("Ridge", "classes", 3, "no classifier"),
        ("LogisticRegression", "value", 1, "no regressor"),
        ("SVC", "class", 3, ""),
        ("Ridge", "value", 1, ""),
    ],
)
def test_an_estimator_that_cannot_learn_such_labels_is_refused(
    name: str, form: Form, num_outputs: int, message: str
) -> None:
    found = form_problems(Wish(name), "technique.estimators.0", form, num_outputs=num_outputs)
    assert bool(found) == bool(message) and all(message in problem.found for problem in found)


def test_an_estimator_is_what_scikit_learn_gives_by_hand() -> None:
    x, y = rows(), np.arange(60) % 3
    ours = make_estimator(Wish("LogisticRegression", {"C": 0.3}), "class", standardise=True, seed=7).fit(x, y)
    scaler = StandardScaler().fit(x)
    by_hand = LogisticRegression(C=0.3, random_state=7).fit(scaler.transform(x), y)
    others = rows(seed=1)
    assert np.array_equal(ours.predict_proba(others), by_hand.predict_proba(scaler.transform(others)))


def test_random_estimators_are_seeded_unless_the_recipe_does() -> None:
    x, y, others = rows(), np.arange(60) % 3, rows(seed=1)

    def answers(seed: int, **options: Any) -> np.ndarray:
        wish = Wish("RandomForestClassifier", {"n_estimators": 5, **options})
        found: np.ndarray = make_estimator(wish, "class", standardise=False, seed=seed).fit(x, y).predict_proba(others)
        return found

    assert np.array_equal(answers(1), answers(1)) and not np.array_equal(answers(1), answers(2))
    assert np.array_equal(answers(1, random_state=5), answers(2, random_state=5))


def test_one_estimator_a_label_where_several_may_apply() -> None:
    x = rows()
    y = np.stack([x[:, 0] > 1, x[:, 1] > 1], axis=1).astype(int)
    fitted = make_estimator(Wish("LogisticRegression"), "classes", standardise=False, seed=0).fit(x, y)
    for label in range(2):
        by_hand = LogisticRegression(random_state=0).fit(x, y[:, label])
        assert np.array_equal(fitted.predict(x)[:, label], by_hand.predict(x))
