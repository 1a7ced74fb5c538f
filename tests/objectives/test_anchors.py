"""EWC and L2-SP: the Fisher diagonal against explicit gradients row by row, the penalty against its formula."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tenfold.data.batch import Batch, pack
from tenfold.objectives.anchors import Anchor, copied, fisher_diagonal
from tenfold.objectives.causal_lm import CausalLanguageModelling
from tenfold.recipe.tuners import Full, Lora
from tests.engine.stages import FixedWindows, make_model, make_stage, run_stage, trained


def rows() -> list[Batch]:
    """Return the batches of one row each of a window."""
    (batch,) = FixedWindows(lengths=(9, 4, 12)).window(0).batches
    found = []
    for number, ids in enumerate(batch.input_ids.split(batch.lengths)):
        length = len(ids)
        found.append(pack([(number, ids.tolist(), [place > length // 3 for place in range(length)])]))
    return found


@pytest.mark.parametrize("tuner", [Lora(rank=2), Full()], ids=["lora", "full"])
def test_the_fisher_diagonal_is_that_of_explicit_gradients_row_by_row(tuner: Lora | Full) -> None:
    stage = make_stage(tuner)
    model = make_model(stage)
    parameters = stage.tuner.trainable(model.network)
    with torch.no_grad():  # B of LoRA starts at zero, and A would have no gradient
        for parameter in parameters.values():
            parameter.add_(0.01)
    found = fisher_diagonal(model, CausalLanguageModelling(), rows(), parameters)

    expected = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    num_tokens = 0
    for batch in rows():
        model.network.zero_grad()
        logits = model.network(input_ids=batch.input_ids[None]).logits[0].float()
        in_loss = batch.targets >= 0
        log_likelihood = torch.log_softmax(logits, -1)[in_loss].gather(1, batch.targets[in_loss, None]).sum()
        log_likelihood.backward()
        for name, parameter in parameters.items():
            expected[name] += parameter.grad**2
        num_tokens += int(in_loss.sum())
    for name, square in expected.items():
        # fp32 sums in another order, through two layers, squared
        torch.testing.assert_close(found[name], square / num_tokens, rtol=2e-3, atol=1e-6)
    assert all(float(each.sum()) > 0 for each in found.values())


def test_fisher_refuses_batches_in_which_rows_cannot_be_told_apart() -> None:
    stage = make_stage()
    model = make_model(stage)
    with pytest.raises(AssertionError, match="several rows"):
        fisher_diagonal(
            model, CausalLanguageModelling(), FixedWindows().window(0).batches, stage.tuner.trainable(model.network)
        )


def test_an_anchor_is_half_its_strength_times_the_weighted_squares() -> None:
    network = torch.nn.Linear(2, 1)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.0, 3.0]]))
        network.bias.copy_(torch.tensor([5.0]))
    values = {"weight": torch.tensor([[0.0, 1.0]])}
    assert Anchor(2.0, "here", values)(network).item() == 1 + 4
    weighted = Anchor(2.0, "here", values, {"weight": torch.tensor([[10.0, 0.5]])})(network)
    assert weighted.item() == 10 * 1 + 0.5 * 4
    weighted.backward()
    # strength * importance * distance
    assert network.weight.grad.tolist() == [[20.0, 2.0]]
    assert network.bias.grad is None


def test_a_strong_anchor_keeps_what_trains_near_where_it_was(tmp_path: Path) -> None:
    distances = {}
    for strength in (0.0, 1e4):
        stage = make_stage(updates=8)
        model = make_model(stage)
        before = copied(stage.tuner.trainable(model.network))
        stage = make_stage(updates=8, tuner=Lora(rank=4), penalties=(Anchor(strength, "start", before),))
        model = make_model(stage)
        run_stage(model, stage, tmp_path / str(strength))
        after = trained(model, stage)
        distances[strength] = sum(float((after[name] - before[name]).square().sum()) for name in before)
    assert distances[1e4] < 0.2 * distances[0.0]


def test_two_anchors_of_one_strength_and_origin_are_told_apart_by_neither_values_nor_addresses() -> None:
    assert repr(Anchor(1.0, "ewc after a", {"w": torch.ones(2)})) == "Anchor(strength=1.0, origin='ewc after a')"
