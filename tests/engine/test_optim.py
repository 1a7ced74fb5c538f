from __future__ import annotations

import math

import pytest
import torch

from tenfold.engine.optim import make_optimizer, rate_factor
from tenfold.recipe import OptimSection
from tenfold.recipe.tuners import Lora
from tests.engine.stages import make_model, make_stage


def factors(schedule: str, total: int = 20, warmup: float = 0.2) -> list[float]:
    optim = OptimSection(schedule=schedule, warmup_share=warmup)  # type: ignore[arg-type]
    return [rate_factor(update, total, optim) for update in range(total)]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_rate_rises_over_the_warm_up_and_never_is_zero(schedule: str) -> None:
    found = factors(schedule)
    assert found[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert found[4] == max(found) == 1.0
    assert min(found) > 0


def test_schedules_follow_their_formulas_after_the_warm_up() -> None:
    assert factors("constant")[4:] == [1.0] * 16
    assert factors("linear")[4:] == pytest.approx([1 - step / 16 for step in range(16)])
    assert factors("cosine")[12] == pytest.approx(0.5)
    assert factors("cosine")[8] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_without_warm_up_the_first_update_has_the_full_rate() -> None:
    assert factors("cosine", warmup=0.0)[0] == 1.0


def test_lora_plus_gives_b_its_own_peak() -> None:
    stage = make_stage(Lora(rank=4, plus_ratio=16.0), rate=1e-4)
    model = make_model(stage)
    optimizer = make_optimizer(stage, model)
    rates = {
        name: group["initial_lr"]
        for group in optimizer.param_groups
        for name, parameter in model.network.named_parameters()
        if any(parameter is member for member in group["params"])
    }
    assert {rate for name, rate in rates.items() if "lora_A" in name} == {1e-4}
    assert {rate for name, rate in rates.items() if "lora_B" in name} == {1e-4 * 16.0}
    assert all(parameter.dtype == torch.float32 for group in optimizer.param_groups for parameter in group["params"])
