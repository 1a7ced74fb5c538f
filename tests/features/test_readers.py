"""A fitted estimator answers a task in a head's place, and its verdict is its own prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tenfold.data.prepare import Prepared
from tenfold.errors import ArtifactError
from tenfold.features.choose import Targets
from tenfold.features.estimators import Form, Wish, make_estimator
from tenfold.features.readers import EstimatorReader, without_features
from tenfold.features.views import View
from tenfold.models.language_model import LanguageModel
from tests.features.conftest import extraction

ROWS = np.random.default_rng(0).normal(size=(120, 5)).astype(np.float32)
VIEW = View((1, 2), "mean")


def fitted(name: str, form: Form, values: np.ndarray, num_outputs: int, **options: Any) -> EstimatorReader:
    estimator = make_estimator(Wish(name, options), form, standardise=True, seed=0).fit(ROWS[: len(values)], values)
    return EstimatorReader(VIEW, estimator, form, num_outputs)


@pytest.mark.parametrize(
    "name", ["LogisticRegression", "SVC", "NuSVC", "LinearSVC", "KNeighborsClassifier", "NearestCentroid", "Perceptron"]
)
@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_greatest_logit_is_the_predicted_class(name: str, num_classes: int) -> None:
    noise = np.random.default_rng(1).normal(size=len(ROWS))
    classes = np.digitize(ROWS[:, 0] + 0.5 * noise, np.quantile(ROWS[:, 0], np.linspace(0, 1, num_classes + 1)[1:-1]))
    reader = fitted(name, "class", classes, num_classes)
    logits = reader.logits(ROWS)
    assert logits.shape == (len(ROWS), num_classes)
    assert (logits.argmax(axis=1) == reader.estimator.predict(ROWS)).all()


def test_logits_are_log_probabilities_where_there_are_any() -> None:
    reader = fitted("LogisticRegression", "class", np.arange(120) % 3, 3)
    softmax = torch.softmax(torch.from_numpy(reader.logits(ROWS)), dim=1).numpy()
    assert np.allclose(softmax, reader.estimator.predict_proba(ROWS), atol=1e-6)


def test_a_class_that_no_training_row_has_is_never_answered() -> None:
    reader = fitted("LogisticRegression", "class", 2 * (np.arange(120) % 2), 4)
    assert set(reader.logits(ROWS).argmax(axis=1)) == {0, 2}


@pytest.mark.parametrize("name", ["LogisticRegression", "LinearSVC", "KNeighborsClassifier", "RidgeClassifier"])
def test_a_label_applies_where_its_logit_is_above_zero(name: str) -> None:
    values = np.stack([ROWS[:, 0] > 0, ROWS[:, 1] > 1, ROWS[:, 2] > -1], axis=1).astype(np.int64)
    reader = fitted(name, "classes", values, 3)
    assert ((reader.logits(ROWS) > 0) == (reader.estimator.predict(ROWS) > 0)).all()


SEVERAL = np.stack([ROWS[:, 0] > 0, ROWS[:, 1] > 1, ROWS[:, 2] > -1], axis=1).astype(np.int64)


@pytest.mark.parametrize("name", ["RidgeClassifier", "LinearSVC", "Perceptron"])
def test_of_several_labels_decision_values_are_told_where_there_are_no_probabilities(name: str) -> None:
    reader = fitted(name, "classes", SEVERAL, 3)
    assert np.allclose(reader.logits(ROWS), reader.estimator.decision_function(ROWS), atol=1e-5)


def test_of_several_labels_a_trees_own_probabilities_are_told() -> None:
    reader = fitted("RandomForestClassifier", "classes", SEVERAL, 3, n_estimators=20)
    own = np.stack([each[:, 1] for each in reader.estimator.predict_proba(ROWS)], axis=1)
    assert np.allclose(1 / (1 + np.exp(-reader.logits(ROWS))), own, atol=1e-5)


def test_a_label_that_no_training_row_has_is_never_answered() -> None:
    values = np.where(np.arange(3) == 2, 0, SEVERAL)
    assert (fitted("KNeighborsClassifier", "classes", values, 3).logits(ROWS)[:, 2] < -10).all()


def test_a_number_is_the_prediction() -> None:
    reader = fitted("Ridge", "value", ROWS[:, 0].astype(np.float64), 1)
    assert reader.logits(ROWS)[:, 0].tolist() == reader.estimator.predict(ROWS).tolist()


def test_a_reader_answers_from_the_models_states_and_the_same_when_loaded(
    decoder: LanguageModel, prepared: Prepared, tmp_path: Path
) -> None:
    features = extraction(decoder).of(prepared, VIEW.parts).matrix(VIEW)
    classes = np.arange(len(prepared)) % 3
    estimator = make_estimator(Wish("LogisticRegression"), "class", standardise=True, seed=0).fit(features, classes)
    reader = EstimatorReader(VIEW, estimator, "class", 3)
    batch = prepared.batch(prepared.entries(range(len(prepared))))
    found = reader(decoder, batch)
    # features of one packed batch against those of batches of other rows: fp32 sums in another order
    torch.testing.assert_close(found, torch.from_numpy(reader.logits(features)).float(), rtol=1e-3, atol=1e-3)
    reader.save(tmp_path)
    assert torch.equal(EstimatorReader.load(tmp_path)(decoder, batch), found)
    decoder.readers["main"] = reader
    try:
        assert torch.equal(decoder.logits(batch), found)
    finally:
        decoder.readers.clear()


@pytest.mark.parametrize("damage", ["no reader", "no estimator", "another estimator"])
def test_a_damaged_reader_is_refused(damage: str, tmp_path: Path) -> None:
    fitted("LogisticRegression", "class", np.arange(120) % 2, 2).save(tmp_path)
    if damage == "no reader":
        (tmp_path / "reader.json").unlink()
    elif damage == "no estimator":
        (tmp_path / "estimator.skops").unlink()
    else:
        facts = json.loads((tmp_path / "reader.json").read_text())
        (tmp_path / "reader.json").write_text(json.dumps({**facts, "sha256": "0" * 64}))
    with pytest.raises(ArtifactError):
        EstimatorReader.load(tmp_path)


def test_without_features_the_majority_or_the_mean_is_answered(decoder: LanguageModel, prepared: Prepared) -> None:
    batch = prepared.batch(prepared.entries([0, 1]))
    classes = without_features(Targets("class", np.array([2, 1, 2, 0, 2]), 4))(decoder, batch)
    assert classes.argmax(dim=1).tolist() == [2, 2]
    assert torch.softmax(classes, dim=1)[0, :3].tolist() == pytest.approx([0.2, 0.2, 0.6], abs=1e-4)
    labels = without_features(Targets("classes", np.array([[1, 0], [1, 0], [0, 0], [1, 1]]), 2))(decoder, batch)
    assert torch.sigmoid(labels[0]).tolist() == pytest.approx([0.75, 0.25])
    numbers = without_features(Targets("value", np.array([1.0, 2.0, 6.0]), 1))(decoder, batch)
    assert numbers.tolist() == [[3.0], [3.0]]
