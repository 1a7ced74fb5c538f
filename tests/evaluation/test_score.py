from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from tenfold.evaluation.likelihood import Losses, response_losses
from tenfold.evaluation.score import default_max_new_tokens, likelihood_measures, score_task
from tests.evaluation.byte_model import END, ByteTokenizer, PlainModel
from tests.evaluation.test_generate import generate

STOPS = (257,)


@dataclass(frozen=True)
class Item:
    prompt_ids: list[int]
    reference: str
    input_ids: list[int]
    supervised: list[bool]


def item(prompt: str, reference: str) -> Item:
    ids, answer = list(prompt.encode()), [*reference.encode(), END]
    return Item(ids, reference, ids + answer, [False] * len(ids) + [True] * len(answer))


def items(model: PlainModel) -> list[Item]:
    """Three items, the first two of which the model answers right."""
    prompts = ["turn on", "what is", "it"]
    answers = generate(
        model.network, model.tokenizer, [list(p.encode()) for p in prompts], stop_ids=STOPS, max_new_tokens=5
    )
    return [item(prompts[0], answers[0]), item(prompts[1], answers[1]), item(prompts[2], "other")]


def test_a_task_is_scored_by_its_answers_and_by_its_references(model: PlainModel) -> None:
    given = items(model)
    score = score_task(
        model,
        given,
        stage="before",
        task="household",
        stop_ids=STOPS,
        metrics=("exact_match", "chrf"),
        max_new_tokens=5,
    )
    assert list(score.measures) == ["exact_match", "chrf", "response_loss", "response_bits_per_byte"]
    assert score.primary.items == (1.0, 1.0, 0.0)
    assert score.predictions[:2] == (given[0].reference, given[1].reference)
    losses = response_losses(model, given)
    nats = sum(loss.nats for loss in losses)
    assert score.measures["response_loss"].value == pytest.approx(nats / sum(loss.num_tokens for loss in losses))
    num_bytes = sum(loss.num_bytes for loss in losses)
    assert score.measures["response_bits_per_byte"].value == pytest.approx(nats / math.log(2) / num_bytes)


def test_metrics_are_chosen_by_the_references(model: PlainModel) -> None:
    score = score_task(model, [item("x", '{"a": 1}')], stage="before", task="t", stop_ids=STOPS, batch_tokens=1)
    assert score.primary.name == "json_match"


def test_the_default_length_is_an_eighth_more_than_the_longest_reference_and_the_end() -> None:
    tokenizer = ByteTokenizer()
    assert default_max_new_tokens(tokenizer, ["a", "b" * 16]) == 16 + 2 + 1
    assert default_max_new_tokens(tokenizer, ["b" * 17]) == 17 + 3 + 1
    assert default_max_new_tokens(tokenizer, [""]) == 1


def test_the_default_length_is_used(model: PlainModel) -> None:
    score = score_task(model, [item("ab", "cdefgh")], stage="before", task="t", stop_ids=STOPS)
    [expected] = generate(model.network, model.tokenizer, [list(b"ab")], stop_ids=STOPS, max_new_tokens=8)
    assert score.predictions == (expected,)


def test_answers_of_a_task_end_at_its_stop_ids(model: PlainModel) -> None:
    [answer] = generate(model.network, model.tokenizer, [list(b"turn on")], stop_ids=(), max_new_tokens=5)
    stops = range(256)  # any byte ends the answer
    score = score_task(model, [item("turn on", answer)], stage="before", task="t", stop_ids=stops)
    assert (len(answer) > 0, score.predictions) == (True, ("",))


def test_likelihood_without_bytes_or_tokens_is_left_out_and_divides_by_nothing() -> None:
    measures = likelihood_measures([Losses(1.0, 1, 0), Losses(2.0, 1, 0)])
    assert [(measure.name, measure.value) for measure in measures] == [("response_loss", 1.5)]
    assert likelihood_measures([Losses(0.0, 0, 0)]) == []
