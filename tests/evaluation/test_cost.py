from __future__ import annotations

import json
import time
from dataclasses import asdict
from mmap import mmap

import psutil
import pytest
import torch

from tenfold.evaluation.cost import Cost, PeakMemory

MEBIBYTE = 2**20


def test_a_block_that_allocates_and_frees_is_seen_at_its_peak() -> None:
    before = psutil.Process().memory_info().rss
    # new pages, whatever earlier tests have given back to the allocator
    with PeakMemory(torch.device("cpu")) as memory, mmap(-1, 64 * MEBIBYTE) as block:
        for _ in range(64):
            block.write(b"1" * MEBIBYTE)
        time.sleep(0.15)  # three samples
    assert 60 * MEBIBYTE < memory.peak_bytes - before < 100 * MEBIBYTE


def test_what_was_higher_before_the_block_does_not_count() -> None:
    high = torch.ones(256 * MEBIBYTE, dtype=torch.uint8)
    with PeakMemory(torch.device("cpu")) as earlier:
        time.sleep(0.01)
    del high
    with PeakMemory(torch.device("cpu")) as memory:
        time.sleep(0.01)
    assert memory.peak_bytes < earlier.peak_bytes - 200 * MEBIBYTE


def test_the_block_may_fail_and_the_peak_is_still_known() -> None:
    memory = PeakMemory(torch.device("cpu"))
    with pytest.raises(RuntimeError, match="stop"), memory:
        raise RuntimeError("stop")
    assert memory.peak_bytes > 0


def test_costs_survive_json() -> None:
    cost = Cost(
        train_seconds=10.5,
        evaluation_seconds=2.0,
        tokens_per_second=100.25,
        peak_memory_bytes=5,
        trainable_parameters=1,
        total_parameters=4,
        trainable_share=0.25,
        bytes_on_disk=6,
        base_bytes=7,
    )
    assert Cost(**json.loads(json.dumps(asdict(cost)))) == cost
    assert cost.energy_joules is None
