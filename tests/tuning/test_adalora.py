"""AdaLoRA: the penalty and the pruning are PEFT's own, driven by the engine, and survive an interruption."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tenfold.recipe.tuners import Adalora
from tenfold.tuning.tuner import Tuner, make_tuner
from tests.tuning.steps import IDS, build, difference, logits, loss, train

SETTINGS = Adalora(initial_rank=6, target_rank=2, orthogonality=0.3)


def test_penalty_is_what_pefts_forward_adds() -> None:
    tuner = make_tuner(SETTINGS)
    network = tuner.attach(build())
    with torch.no_grad():
        with_penalty = network(input_ids=IDS, labels=IDS).loss
        # below PEFT's wrapper nothing is added
        without = network.get_base_model()(input_ids=IDS, labels=IDS).loss
    penalty = tuner.penalty(network)
    assert penalty is not None and penalty.requires_grad
    assert penalty.item() == pytest.approx((with_penalty - without).item(), rel=1e-5)
    assert penalty.item() > 0.1


def kept(network: nn.Module) -> int:
    return sum(int((value != 0).sum()) for name, value in network.named_parameters() if ".lora_E." in name)


def test_rank_is_pruned_to_the_target_by_two_thirds_of_the_updates() -> None:
    tuner = make_tuner(SETTINGS)
    network = tuner.attach(build(), total_updates=30)
    assert kept(network) == 0  # the singular values start at zero
    counts = []
    optimizer = torch.optim.AdamW(tuner.parameter_groups(network, 1e-2))
    for update in range(1, 31):
        loss(network).backward()
        optimizer.step()
        tuner.after_update(network, update, 30)
        optimizer.zero_grad()
        counts.append(kept(network))
    assert counts[2] == 14 * 6  # 14 layers, all ranks
    assert counts[19] == 14 * 2
    assert set(counts[20:]) == {14 * 2}


@pytest.mark.parametrize("total", [1, 2, 3])
def test_runs_of_a_few_updates_work(total: int) -> None:
    tuner = make_tuner(SETTINGS)
    train(tuner, tuner.attach(build(), total_updates=total), steps=total, rate=1e-2)


@pytest.mark.parametrize("stop", [4, 9, 18])
def test_going_on_from_the_state_equals_never_stopping(stop: int) -> None:
    straight = make_tuner(SETTINGS)
    torch.manual_seed(0)
    network = straight.attach(build(), total_updates=20)
    interrupted: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]] | None = None
    for update in range(1, 21):
        step(straight, network, update)
        if update == stop:
            parameters = {name: value.detach().clone() for name, value in straight.trainable(network).items()}
            interrupted = parameters, {name: value.clone() for name, value in straight.state(network).items()}
    assert interrupted is not None

    resumed = make_tuner(SETTINGS)
    second = resumed.attach(build(), total_updates=20)
    for name, value in resumed.trainable(second).items():
        value.data.copy_(interrupted[0][name])
    resumed.restore(second, interrupted[1])
    for update in range(stop + 1, 21):
        step(resumed, second, update)
    assert torch.equal(logits(second), logits(network))


def step(tuner: Tuner, network: nn.Module, update: int) -> None:
    """Plain gradient descent: it has no state of its own to carry over."""
    loss(network).backward()
    with torch.no_grad():
        for value in tuner.trainable(network).values():
            value -= 0.05 * value.grad
    tuner.after_update(network, update, 20)
    network.zero_grad()


@pytest.mark.parametrize("steps", [10, 30])
def test_saved_between_prunings_it_is_still_the_trained_one(steps: int, tmp_path: Path) -> None:
    tuner = make_tuner(SETTINGS)
    network = tuner.attach(build(), total_updates=30)
    train(tuner, network, steps=steps, rate=1e-2, total=30)
    pattern = network.active_peft_config.rank_pattern
    assert pattern
    trained = logits(network)
    tuner.save(network, tmp_path)
    assert network.active_peft_config.rank_pattern is pattern
    assert difference(logits(tuner.load(build(), tmp_path)), trained) <= 1e-6


def test_the_rank_number_never_trains_over_a_bf16_base() -> None:
    tuner = make_tuner(SETTINGS)
    assert not any(".ranknum." in name for name in tuner.trainable(tuner.attach(build(dtype=torch.bfloat16))))
