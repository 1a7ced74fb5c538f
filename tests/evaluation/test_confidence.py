"""Temperatures undo what was done to logits; thresholds give scikit-learn's precision and recall."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, precision_score, recall_score

from tenfold.evaluation.bag_of_words import class_chances, label_chances, numbers, usual_tags
from tenfold.evaluation.confidence import THRESHOLDS, at_thresholds, best_temperature, best_threshold, is_at_end


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_temperature_that_was_put_on_is_found(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    true_logits = 2 * torch.randn(4000, 5, generator=generator)
    wanted = torch.multinomial(torch.softmax(true_logits, dim=1), 1, generator=generator)[:, 0]
    # 4,000 drawn labels leave the temperature uncertain by a few percent
    assert best_temperature(true_logits * temperature, wanted) == pytest.approx(temperature, rel=0.06)
    applies = (torch.rand(4000, 5, generator=generator) < torch.sigmoid(true_logits)).double()
    assert best_temperature(true_logits * temperature, applies) == pytest.approx(temperature, rel=0.06)


def test_the_table_of_thresholds_is_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    wanted = generator.integers(0, 2, (50, 3))
    chances = np.clip(wanted * 0.4 + generator.random((50, 3)) * 0.6, 0, 1)
    table = at_thresholds(chances.tolist(), wanted.astype(float).tolist())
    assert tuple(row.threshold for row in table) == THRESHOLDS
    for row in table:
        answered = chances >= row.threshold
        assert row.precision == pytest.approx(precision_score(wanted, answered, average="micro", zero_division=1.0))
        assert row.recall == pytest.approx(recall_score(wanted, answered, average="micro"))
        assert row.f1 == pytest.approx(f1_score(wanted, answered, average="micro"))
    assert best_threshold(table).f1 == max(row.f1 for row in table)


def test_words_tell_classes_labels_and_numbers() -> None:
    train = ["a red lamp", "the red hall", "a blue lamp", "the blue hall"] * 5
    test = ["red", "blue"]
    classes = class_chances(train, [0, 0, 2, 2] * 5, test, num_classes=3)
    assert [row.index(max(row)) for row in classes] == [0, 2] and classes[0][1] == 0.0
    labels = label_chances(train, [[1.0, 1.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]] * 5, test)
    assert labels[0][0] > 0.5 > labels[1][0] and [row[1] for row in labels] == [1.0, 1.0]
    low, high = numbers(train, [1.0, 1.0, 9.0, 9.0] * 5, test)
    assert low < 5 < high


def test_a_words_usual_tag() -> None:
    train = [(["Rome", "is", "old"], ["B-x", "O", "O"]), (["rome"], ["B-x"]), (["old"], ["B-x"]), (["the"], ["O"])]
    assert usual_tags(train, [["Rome", "old", "unknown"]]) == [["B-x", "B-x", "B-x"]]


def test_a_temperature_without_a_minimum_is_told_from_one_that_was_found() -> None:
    logits = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    wrong, right, between = (torch.tensor(labels) for labels in ([1, 1], [0, 0], [0, 1]))
    # always wrong: flatter is better without end; always right: sharper is; as often wrong as right: flat as well
    assert all(is_at_end(best_temperature(logits, labels)) for labels in (wrong, right, between))
    mixed = torch.tensor([[1.0, 0.0]] * 4)
    assert not is_at_end(best_temperature(mixed, torch.tensor([0, 0, 0, 1])))
