"""Updates whose rows the student answers itself: which rows, by which weights, and the same ones again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tenfold.data.batch import SampledBatch, Window
from tenfold.data.prepare import prepare
from tenfold.data.render import Renderer
from tenfold.data.sources import open_rows
from tenfold.data.windows import Windows
from tenfold.models.language_model import LanguageModel
from tenfold.models.load import load_tokenizer
from tenfold.models.open import open_model
from tenfold.recipe import DataSection
from tenfold.teaching.on_policy import Drawing, OnPolicyWindows

CPU = torch.device("cpu")


@pytest.fixture
def model(model_folder: Path) -> LanguageModel:
    opened = open_model(model_folder, load_tokenizer(model_folder), dtype=torch.float32, device=CPU)
    assert isinstance(opened, LanguageModel)
    return opened


@pytest.fixture
def windows(model: LanguageModel, rows_file: Path) -> OnPolicyWindows:
    renderer = Renderer(model.tokenizer, DataSection())
    prepared = prepare(open_rows(str(rows_file)), renderer)
    source = Windows(prepared, batch_size=8, micro_batch_tokens=200, seed=0)
    drawing = Drawing(share=0.5, every=2, temperature=1.0, max_new_tokens=5)
    return OnPolicyWindows(source, drawing, lambda: model, renderer)


def tokens(window: Window) -> list[list[int]]:
    return [batch.input_ids.tolist() + batch.targets.tolist() for batch in window.batches]


def test_every_so_often_a_share_of_the_rows_is_answered_by_the_student(windows: OnPolicyWindows) -> None:
    plain, mixed = windows.window(1), windows.window(2)
    assert tokens(plain) == tokens(windows.source.window(1))
    sampled = [batch for batch in mixed.batches if isinstance(batch, SampledBatch)]
    assert sum(len(batch.rows) for batch in sampled) == 4
    assert sorted(mixed.rows) == sorted(windows.source.window(2).rows)
    assert all(len(batch.input_ids) <= 200 for batch in mixed.batches)


def test_a_drawn_row_is_its_prompt_and_what_the_student_said_in_the_loss(windows: OnPolicyWindows) -> None:
    for batch in windows.window(0).batches:
        if not isinstance(batch, SampledBatch):
            continue
        rows = zip(batch.rows, batch.input_ids.split(batch.lengths), batch.targets.split(batch.lengths), strict=True)
        for row, ids, targets in rows:
            prompt = windows.renderer.prompt(windows.source.prepared.rows.example(row))
            assert ids[: len(prompt)].tolist() == prompt
            assert 1 <= len(ids) - len(prompt) <= 5
            learned = targets[targets >= 0].tolist()
            assert learned == ids[len(prompt) :].tolist(), "each token of the reply, and nothing of the prompt"


def test_the_same_weights_draw_the_same_rows_and_disturb_no_random_state(windows: OnPolicyWindows) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first = tokens(windows.window(4))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(8)
    assert tokens(windows.window(4)) == first
    assert tokens(windows.window(6)) != first


def test_other_weights_draw_other_rows(windows: OnPolicyWindows, model: LanguageModel) -> None:
    first = tokens(windows.window(4))
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.mul_(0.5)
    assert tokens(windows.window(4)) != first
    assert not model.network.training


def test_smaller_micro_batches_hold_the_same_rows(windows: OnPolicyWindows) -> None:
    smaller = windows.with_micro_batch_tokens(40)
    whole = [set(tokens_of_rows(each.window(2))) for each in (windows, smaller)]
    assert whole[0] == whole[1]
    assert len(smaller.window(2).batches) > len(windows.window(2).batches)


def tokens_of_rows(window: Window) -> list[tuple[int, ...]]:
    return [tuple(row.tolist()) for batch in window.batches for row in batch.input_ids.split(batch.lengths)]
