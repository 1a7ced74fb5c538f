from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch

from tenfold.evaluation.likelihood import Choice, choose_options, response_losses, text_losses
from tenfold.models.compact import compacted
from tenfold.models.trunk import Route
from tests.evaluation.byte_model import END, PlainModel


@dataclass(frozen=True)
class Row:
    input_ids: list[int]
    supervised: list[bool]


@torch.no_grad()
def nats(model: PlainModel, tokens: list[int], supervised: list[bool]) -> float:
    """One row by the model's own loss (a mean), times how many."""
    labels = [token if kept else -100 for token, kept in zip(tokens, supervised, strict=True)]
    mean = model.network(input_ids=torch.tensor([tokens]), labels=torch.tensor([labels])).loss
    return float(mean) * sum(supervised[1:])


def row(prompt: str, response: str) -> Row:
    ids = [*prompt.encode(), *response.encode(), END]
    return Row(ids, [False] * len(prompt.encode()) + [True] * (len(response.encode()) + 1))


ROWS = [
    row("say hi: ", "hi"),
    row("a", "größer als"),
    row("long " * 8, "no"),
    row("", "first"),
    row("b", "c"),
]


@pytest.mark.parametrize("pack_tokens", [1, 50, 4096])
def test_response_losses_are_the_models_own(model: PlainModel, pack_tokens: int) -> None:
    losses = response_losses(model, ROWS, pack_tokens=pack_tokens)
    for loss, given in zip(losses, ROWS, strict=True):
        assert loss.nats == pytest.approx(nats(model, given.input_ids, given.supervised), rel=1e-5)
        assert loss.num_tokens == sum(given.supervised[1:])
        assert loss.per_token == pytest.approx(loss.nats / loss.num_tokens)
    assert losses[1].num_bytes == len("größer als".encode())
    assert losses[3].num_bytes == len("irst"), "nothing comes before the first token: it is not judged"
    assert losses[0].bits_per_byte == pytest.approx(losses[0].nats / math.log(2) / 2)


def test_batches_keep_to_the_token_budget(model: PlainModel) -> None:
    response_losses(model, ROWS, pack_tokens=50)
    assert all(len(batch.rows) == 1 or len(batch.input_ids) <= 50 for batch in model.batches)
    assert len(model.batches) < len(ROWS)


def test_a_row_with_nothing_in_the_loss_costs_nothing(model: PlainModel) -> None:
    [loss] = response_losses(model, [Row([1, 2], [False, False])])
    assert (loss.nats, loss.num_tokens, loss.num_bytes, loss.per_token, loss.bits_per_byte) == (0, 0, 0, 0, 0)
    assert model.batches == []


def test_dropout_is_off_while_text_is_scored(model: PlainModel) -> None:
    expected = response_losses(model, ROWS)
    model.network.train()
    assert response_losses(model, ROWS) == expected
    assert model.network.training


def test_every_token_of_a_text_counts_after_the_start_token(model: PlainModel) -> None:
    texts = ["ab", "Übung macht den Meister", ""]
    losses = text_losses(model, texts)
    for text, loss in zip(texts, losses, strict=True):
        tokens = [END, *text.encode()]
        expected = nats(model, tokens, [False] + [True] * (len(tokens) - 1)) if text else 0.0
        assert loss.nats == pytest.approx(expected, rel=1e-5)
        assert loss.num_tokens == loss.num_bytes == len(text.encode())


def test_long_texts_are_scored_in_pieces(model: PlainModel) -> None:
    text = "abcdefghij"
    [loss] = text_losses(model, [text], max_length=5)
    pieces = [[END, *text[start : start + 4].encode()] for start in (0, 4, 8)]
    expected = sum(nats(model, piece, [False] + [True] * (len(piece) - 1)) for piece in pieces)
    assert loss.nats == pytest.approx(expected, rel=1e-5)
    assert loss.num_tokens == 10


def test_the_likeliest_option_per_byte_is_chosen(model: PlainModel) -> None:
    choices = [
        Choice("The capital of France is", (" Paris", " Rome", " a very long name indeed")),
        Choice("2 + 2 =", (" 4", " 5")),
    ]
    expected = []
    for choice in choices:
        scores = []
        for option in choice.options:
            context, continuation = [END, *choice.context.encode()], list(option.encode())
            loss = nats(model, context + continuation, [False] * len(context) + [True] * len(continuation))
            scores.append(-loss / len(continuation))
        expected.append(scores.index(max(scores)))
    assert choose_options(model, choices) == expected
    turned = [Choice(choice.context, choice.options[::-1]) for choice in choices]
    assert choose_options(model, turned) == [
        len(choice.options) - 1 - place for choice, place in zip(choices, expected, strict=True)
    ]


@pytest.mark.parametrize("pack_tokens", [1, 60, 2048])
def test_where_beginnings_are_computed_once_all_options_of_a_context_stand_together(
    model: PlainModel, pack_tokens: int
) -> None:
    choices = [Choice(f"{number}: what is it? " * 6, (" a", " bc", " an owl", " bd")) for number in range(4)]
    expected = choose_options(model, choices)
    model.batches.clear()
    model.route = Route(packs=True, compacts=True)
    assert choose_options(model, choices, pack_tokens=pack_tokens) == expected
    computed = [len(compacted(batch).input_ids) for batch in model.batches]
    assert sum(map(len, (batch.rows for batch in model.batches))) == 16
    if pack_tokens == 2048:
        assert len(model.batches) == len(choices)
        assert sum(computed) < sum(len(batch.input_ids) for batch in model.batches) / 2
    elif pack_tokens == 60:  # a quarter is left for options where a context alone is longer
        assert len(model.batches) < 16, "a context is not read for each option by itself"


def test_a_token_across_the_border_belongs_to_the_option(model: PlainModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(text: str, *, add_special_tokens: bool) -> list[int]:
        return list(text.replace("b c", "\x01").encode())  # as a merge of the tokenizer would

    monkeypatch.setattr(model.tokenizer, "encode", encode)
    choose_options(model, [Choice("ab", (" c", " d"))])
    [batch] = model.batches
    kept = [[t for t in part if t >= 0] for part in (p.tolist() for p in batch.targets.split(batch.lengths))]
    assert sorted(kept) == [[1], list(b" d")]
