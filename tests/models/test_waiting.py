"""What makes the CPU wait for a GPU: nothing of a batch may be looked at there."""

from __future__ import annotations

import warnings

import pytest
import torch

from tenfold.data.batch import Batch, moved, pack
from tenfold.engine.training import Training
from tenfold.engine.update import update_once
from tenfold.models import language_model
from tenfold.models.compact import CompactBatch, compacted
from tenfold.models.language_model import LanguageModel, Route
from tests.engine.stages import FixedWindows, Full, make_model, make_stage


@pytest.mark.parametrize("compacts", [True, False])
def test_rows_are_cut_before_they_are_moved(compacts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[object] = []

    def cut(batch: Batch) -> CompactBatch:
        events.append(batch)
        return original(batch)

    def move(self: CompactBatch, device: torch.device) -> CompactBatch:
        events.append(device)
        return self

    original = getattr(language_model, "compacted" if compacts else "whole")
    monkeypatch.setattr(language_model, original.__name__, cut)
    monkeypatch.setattr(CompactBatch, "to", move)
    model = make_model(make_stage(Full()), route=Route(packs=True, splits_head=True, compacts=compacts))
    (batch,) = FixedWindows().window(0).batches
    model.loss_sum(batch)
    assert events == [batch, torch.device("cpu")]


def test_moved_to_a_cpu_values_are_the_same() -> None:
    values = torch.arange(3)
    assert moved(values, torch.device("cpu")) is values


def test_a_compact_batch_moves_all_but_its_borders() -> None:
    batch = compacted(pack([(0, [3, 4, 5], [False, True, True])]))
    there = batch.to(torch.device("meta"))
    assert {value.device.type for value in (there.input_ids, there.positions, there.supervised, there.targets)} == {
        "meta"
    }
    assert there.cu_seqlens.device.type == there.cu_seqlens_keys.device.type == "cpu"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_an_update_waits_for_the_gpu_as_often_with_many_rows_as_with_few() -> None:
    counts = [_waits((6,) * rows) for rows in (2, 16)]
    assert counts[0] == counts[1]


def _waits(lengths: tuple[int, ...]) -> int:
    """Return how often an update on a GPU made the CPU wait."""
    stage = make_stage(Full(), windows=FixedWindows(lengths=lengths))
    model = make_model(stage)
    on_gpu = LanguageModel(model.base.cuda(), None, device=torch.device("cuda"), route=model.route)  # type: ignore[arg-type]
    on_gpu.wrap(model.network, packs=True, autocast=torch.bfloat16)
    training = Training.begin(on_gpu, stage)
    update_once(on_gpu, stage, stage.windows.window(0), training)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            update_once(on_gpu, stage, stage.windows.window(1), training)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(each.message) for each in caught)
