"""A row's lesson in bytes and back: which tokens exactly, their probabilities nearly, and how few bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tenfold.kernels.linear_distillation import top_of_logits
from tenfold.teaching.coding import Array, Numbering, decode, encode

VOCABULARY = 5000


def lesson(num_rows: int, *, k: int, sharpness: float = 3.0, seed: int = 0) -> tuple[Array, Array, Array]:
    generator = torch.Generator().manual_seed(seed)
    # few tokens are frequent, as in language
    frequency = -1.2 * torch.arange(1, VOCABULARY + 1).log()
    logits = frequency + sharpness * torch.randn(num_rows, VOCABULARY, generator=generator)
    top = top_of_logits(logits, k=k, temperature=1.0)
    return top.ids.numpy(), top.log_probabilities.numpy(), top.log_rest.numpy()


def written(ids: Array) -> Numbering:
    return Numbering.of_counts(np.bincount(ids.ravel(), minlength=VOCABULARY))


@pytest.mark.parametrize(("num_rows", "k"), [(0, 8), (1, 1), (7, 64), (30, 200)])
@pytest.mark.parametrize("sharpness", [0.1, 3.0, 20.0])
def test_what_is_read_is_what_was_written(num_rows: int, k: int, sharpness: float) -> None:
    ids, values, rest = lesson(num_rows, k=k, sharpness=sharpness)
    numbering = written(ids)
    found_ids, found_values, found_rest = decode(encode(ids, values, rest, numbering.numbers(VOCABULARY)), k, numbering)
    assert found_ids.shape == ids.shape
    for row in range(num_rows):
        wanted = dict(zip(ids[row].tolist(), values[row].tolist(), strict=True))
        found = dict(zip(found_ids[row].tolist(), found_values[row].tolist(), strict=True))
        assert found.keys() == wanted.keys()
        # half a step of 63 between the largest and the smallest, the shift that gives the K their mass, and fp16
        step = (values[row].max() - values[row].min()) / 63
        assert max(abs(found[token] - wanted[token]) for token in wanted) < step + 0.02
        assert np.exp(found_values[row]).sum() + np.exp(found_rest[row]) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(found_rest, np.minimum(rest, -1e-7), rtol=1e-3, atol=1e-6)


def test_the_divergence_of_what_is_read_is_small() -> None:
    ids, values, rest = lesson(50, k=64)
    numbering = written(ids)
    found_ids, found, found_rest = decode(encode(ids, values, rest, numbering.numbers(VOCABULARY)), 64, numbering)
    order, found_order = np.argsort(ids, 1), np.argsort(found_ids, 1)
    p = np.take_along_axis(values, order, 1).astype(np.float64)
    q = np.take_along_axis(found, found_order, 1)
    divergence = (np.exp(p) * (p - q)).sum(1) + np.exp(rest) * (rest - found_rest)
    assert divergence.mean() < 1e-3


def test_tokens_that_are_named_often_take_fewer_bytes() -> None:
    ids, values, rest = lesson(200, k=64)
    numbering = written(ids)
    size = len(encode(ids, values, rest, numbering.numbers(VOCABULARY))) / 200
    plain = len(encode(ids, values, rest, np.arange(VOCABULARY))) / 200
    assert size < plain
    assert size < 120


def test_a_vocabulary_beyond_two_bytes_is_no_trouble() -> None:
    numbers = np.arange(300_000)
    ids = np.array([[0, 299_999, 70_000]])
    values, rest = np.log(np.array([[0.5, 0.3, 0.1]])), np.log(np.array([0.1]))
    found, _, _ = decode(encode(ids, values, rest, numbers), 3, Numbering(numbers.astype(np.int32)))
    assert sorted(found[0].tolist()) == [0, 70_000, 299_999]
