"""Lessons on disk: whatever pieces they were deflated in, each row gets its own back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tenfold.kernels.linear_distillation import TopTokens, top_of_logits
from tenfold.teaching import targets
from tenfold.teaching.targets import LessonFile, Question

VOCABULARY = 300


def lesson(num_positions: int, seed: int) -> TopTokens:
    logits = 4 * torch.randn(num_positions, VOCABULARY, generator=torch.Generator().manual_seed(seed))
    return top_of_logits(logits, k=8, temperature=1.0)


@pytest.mark.parametrize("lengths", [[3, 0, 5, 4, 1, 30, 0], [4, 4], [8, 0], [0], [1]])
@pytest.mark.parametrize("piece", [4, 256])
def test_each_row_gets_its_own_lesson_back(
    lengths: list[int], piece: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "PIECE", piece)
    lessons = [lesson(length, seed) for seed, length in enumerate(lengths)]
    parts = [tmp_path / "first", tmp_path / "second"]
    half = len(lessons) // 2
    targets._write_part(parts[0], lessons[:half] or [lesson(0, 0)])
    targets._write_part(parts[1], lessons[half:])
    shift = 0 if half else 1
    targets._write(tmp_path / "made", parts, Question(8, 1.0, VOCABULARY), {"k": 8})
    made = targets._opened(tmp_path / "made", "key")
    assert made is not None and made.num_tokens == sum(lengths)
    for number, wanted in enumerate(lessons):
        check(made, number + shift, wanted)


def check(made: LessonFile, number: int, wanted: TopTokens) -> None:
    ids, values, rest = made.row(number)
    assert ids.shape == values.shape == tuple(wanted.ids.shape) and rest.shape == (len(wanted),)
    order, wanted_order = np.argsort(ids, 1), np.argsort(wanted.ids.numpy(), 1)
    np.testing.assert_array_equal(np.take_along_axis(ids, order, 1), np.sort(wanted.ids.numpy(), 1))
    sorted_values = np.take_along_axis(wanted.log_probabilities.numpy(), wanted_order, 1)
    np.testing.assert_allclose(np.take_along_axis(values, order, 1), sorted_values, atol=0.15)
    np.testing.assert_allclose(rest, wanted.log_rest.numpy(), atol=2e-3)
