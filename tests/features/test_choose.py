"""Candidates are compared in folds that share no group, by numbers that scikit-learn gives by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, mean_absolute_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tenfold.errors import DataError, RunFailure
from tenfold.features.choose import Candidate, Targets, Trials, best_of, make_folds
from tenfold.features.estimators import Form, Wish
from tenfold.features.scoring import scoring_of
from tenfold.features.views import View

VIEW = View((1,), "mean")
GENERATOR = np.random.default_rng(0)
ROWS = GENERATOR.normal(size=(90, 6)).astype(np.float32)
CLASSES = (ROWS[:, 0] > 0).astype(np.int64) + (ROWS[:, 1] > 1)


def targets(form: Form = "class") -> Targets:
    values = {
        "class": CLASSES,
        "classes": np.stack([ROWS[:, 0] > 0, ROWS[:, 1] > 0], axis=1).astype(np.int64),
        "value": ROWS[:, 0].astype(np.float64),
    }
    return Targets(form, values[form], 3)


@pytest.mark.parametrize("form", ["class", "classes", "value"])
@pytest.mark.parametrize("size", [1, 3])
def test_folds_share_no_group_and_meet_every_row_once(form: Form, size: int) -> None:
    groups = np.arange(90) // size
    folds = make_folds(targets(form), groups, count=5, seed=3)
    assert sorted(place for _, judge in folds for place in judge) == list(range(90))
    for fit, judge in folds:
        assert not set(groups[fit]) & set(groups[judge])
        assert len(fit) + len(judge) == 90
    again = make_folds(targets(form), groups, count=5, seed=3)
    assert all((a[1] == b[1]).all() for a, b in zip(folds, again, strict=True))


@pytest.mark.parametrize("size", [1, 3])
def test_classes_are_spread_evenly_over_folds(size: int) -> None:
    classes = np.repeat([0, 1, 2], [60, 21, 9])
    folds = make_folds(Targets("class", classes, 3), np.arange(90) // size, count=3, seed=0)
    for _, judge in folds:
        assert np.abs(np.bincount(classes[judge]) - [20, 7, 3]).max() < size, "as even as whole groups allow"


def test_fewer_groups_than_folds_are_refused() -> None:
    with pytest.raises(DataError, match="90 training rows in 2 groups cannot make 5 folds"):
        make_folds(targets(), np.arange(90) // 45, count=5, seed=0)


@pytest.mark.parametrize("size", [1, 3], ids=["rows", "groups"])
def test_classes_without_a_row_for_each_fold_are_refused_in_our_own_words(size: int) -> None:
    classes = Targets("class", np.repeat([0, 1, 2], [7, 6, 5]), 3)
    assert len(make_folds(classes, np.arange(18) // size, count=6, seed=0)) == 6
    told = r"no class has more than 7 training rows, which cannot be spread over 8 folds\n  allowed: at most 7"
    with pytest.raises(DataError, match=told):
        make_folds(classes, np.arange(18), count=8, seed=0)


def test_scores_of_folds_are_those_of_scikit_learn_by_hand() -> None:
    folds = make_folds(targets(), np.arange(90), count=4, seed=0)
    trials = Trials(folds, scoring_of("macro_f1", "class"), standardise=True, seed=0)
    (found,) = trials.of([Wish("LogisticRegression", {"C": 0.2})], [VIEW], lambda view: ROWS, targets())
    by_hand = []
    for fit, judge in folds:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.2)).fit(ROWS[fit], CLASSES[fit])
        by_hand.append(f1_score(CLASSES[judge], model.predict(ROWS[judge]), average="macro"))
    assert found.scores == tuple(by_hand) and found.mean == np.mean(by_hand)


def test_warnings_are_noted_and_failures_do_not_stop_the_others() -> None:
    folds = make_folds(targets(), np.arange(90), count=3, seed=0)
    trials = Trials(folds, scoring_of("accuracy", "class"), standardise=False, seed=0)
    wishes = [Wish("KNeighborsClassifier", {"n_neighbors": 80}), Wish("MLPClassifier", {"max_iter": 2}), Wish("SVC")]
    failed, hasty, sound = trials.of(wishes, [VIEW], lambda view: ROWS, targets())
    assert failed.note.startswith("failed: Expected n_neighbors <= n_samples_fit") and not failed.scores
    assert "Maximum iterations (2) reached" in hasty.note and hasty.note.endswith("(3 of 3 folds)")
    assert sound.note == "" and best_of([failed, hasty, sound]) is max(hasty, sound, key=lambda each: each.mean)
    with pytest.raises(RunFailure, match="failed: Expected"):
        best_of([failed])


def test_of_equals_the_first_is_best() -> None:
    first, second = (Candidate(Wish(name), VIEW, (0.5, 0.7), 0.0) for name in ("SVC", "LinearSVC"))
    assert best_of([first, second]) is first


def test_errors_count_as_less_the_larger_they_are() -> None:
    wanted, answered = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0])
    assert (
        scoring_of("mean_absolute_error", "value")(wanted, answered) == -mean_absolute_error(wanted, answered) == -0.5
    )
    assert scoring_of("pearson", "value")(wanted, answered) == pytest.approx(np.corrcoef(wanted, answered)[0, 1])
    assert scoring_of("r_squared", "value")(wanted, answered) == pytest.approx(1 - 1.25 / (14 / 3))
