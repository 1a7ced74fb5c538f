from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tenfold.evaluation.likelihood import Choice, choose_options, text_losses
from tenfold.evaluation.retention import RetentionSet, read_retention, retention_measures
from tenfold.evaluation.score import score_retention
from tests.evaluation.byte_model import PlainModel

GENERAL = [{"text": "Rain fell all day.", "source": "a"}, {"text": "Tea", "source": "b"}]
KNOWLEDGE = [
    {"question": "Ice is", "options": ["water", "sand"], "answer": "sand", "topic": "nature"},
    {
        "question": "A cat's legs are",
        "options": ["four", "six", "two"],
        "answer": 0,
        "topic": "nature",
    },
]


def test_bits_per_byte_is_all_bits_over_all_bytes(model: PlainModel) -> None:
    measure = retention_measures(model, read_retention(GENERAL, []))["general_bits_per_byte"]
    losses = text_losses(model, [row["text"] for row in GENERAL])
    bits = sum(loss.nats for loss in losses) / math.log(2)
    assert measure.value == pytest.approx(bits / len("Rain fell all day.Tea"))
    assert not measure.higher_is_better


def test_knowledge_is_the_share_of_right_choices(model: PlainModel) -> None:
    items = read_retention([], KNOWLEDGE)
    assert [question.answer for question in items.questions] == [1, 0]
    choices = [
        Choice("Ice is", (" water", " sand")),
        Choice("A cat's legs are", (" four", " six", " two")),
    ]
    chosen = choose_options(model, choices)
    measure = retention_measures(model, items)["knowledge_accuracy"]
    assert measure.items == (float(chosen[0] == 1), float(chosen[1] == 0))


def test_the_score_is_the_task_retention(model: PlainModel) -> None:
    score = score_retention(model, read_retention(GENERAL, KNOWLEDGE), stage="before")
    assert (score.stage, score.task) == ("before", "retention")
    assert list(score.measures) == ["general_bits_per_byte", "knowledge_accuracy"]


def test_the_fingerprint_follows_every_part() -> None:
    items = read_retention(GENERAL, KNOWLEDGE)
    first, second = items.questions
    others = [
        replace(items, texts=("Rain fell all day.Tea",)),
        replace(items, questions=(replace(first, answer=0), second)),
        replace(items, questions=(replace(first, text="Snow is"), second)),
        replace(items, questions=(second, first)),
    ]
    assert len({each.fingerprint for each in [items, *others]}) == 5
    assert items.fingerprint == read_retention(GENERAL, KNOWLEDGE).fingerprint


def test_the_packaged_set_has_answers_among_its_options() -> None:
    items = RetentionSet.load()
    assert len(items.texts) >= 20
    assert len(items.questions) >= 20
    assert all(0 <= question.answer < len(question.options) for question in items.questions)
    assert len({question.answer for question in items.questions}) > 1, "the right answer has no fixed place"
