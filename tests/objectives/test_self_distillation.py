"""Self-distillation: the loss against plain softmax arithmetic, and the model left as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tenfold.models.language_model import Route
from tenfold.objectives import self_distillation
from tenfold.objectives.anchors import copied
from tenfold.objectives.causal_lm import CausalLanguageModelling
from tenfold.objectives.self_distillation import SelfDistillation
from tenfold.recipe.tuners import Full, Lora
from tests.engine.stages import FixedWindows, make_model, make_stage, run_stage

ROUTES = [Route(packs=True, splits_head=True), Route(packs=True, splits_head=False), Route(False, False)]
PLAIN = CausalLanguageModelling()


@pytest.mark.parametrize("tuner", [Lora(rank=2, dropout=0.5), Full()], ids=["lora", "full"])
@pytest.mark.parametrize("route", ROUTES, ids=["split_head", "packed", "padded"])
def test_it_is_cross_entropy_plus_the_divergence_from_the_earlier_model(
    tuner: Lora | Full, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_distillation, "PIECE_LOGITS", 300)  # several pieces
    stage = make_stage(tuner)
    model = make_model(stage, route=route)
    parameters = stage.tuner.trainable(model.network)
    (batch,) = FixedWindows().window(0).batches
    before = copied(parameters)
    model.network.eval()
    with torch.no_grad():
        earlier = logits(model, batch)
        for parameter in parameters.values():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    moved = copied(parameters)
    objective = SelfDistillation(PLAIN, strength=0.7, temperature=2.0, origin="here", before=before)
    total = objective(model, batch).total
    now = logits(model, batch)
    p, q = torch.softmax(earlier / 2, -1), torch.softmax(now / 2, -1)
    expected = PLAIN(model, batch).total + 0.7 * 4 * (p * (p.log() - q.log())).sum()
    # fp32, sums in another order
    torch.testing.assert_close(total, expected, rtol=1e-4, atol=1e-4)
    found = torch.autograd.grad(total, list(parameters.values()))
    wanted = torch.autograd.grad(expected, list(parameters.values()))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert all(torch.equal(moved[name], parameter) for name, parameter in parameters.items())
    assert objective.weight(batch) == PLAIN.weight(batch)


def logits(model: object, batch: object) -> torch.Tensor:
    states, _ = model.supervised(batch)  # type: ignore[attr-defined]
    return model.logits_of(states, model.head())  # type: ignore[attr-defined, no-any-return]


def test_a_failure_inside_leaves_the_model_as_it_was() -> None:
    stage = make_stage()
    model = make_model(stage)
    model.network.train()
    parameters = stage.tuner.trainable(model.network)
    moved = copied(parameters)
    objective = SelfDistillation(PLAIN, 1.0, 2.0, "here", {name: value + 1 for name, value in moved.items()})
    with pytest.raises(RuntimeError, match="out of memory"), objective._as_before(model):
        raise RuntimeError("out of memory")
    assert model.network.training
    assert all(torch.equal(moved[name], parameter) for name, parameter in parameters.items())


def test_a_strong_one_keeps_the_model_answering_as_before(tmp_path: Path) -> None:
    divergence = {}
    (batch,) = FixedWindows().window(0).batches
    for strength in (0.0, 50.0):
        stage = make_stage(updates=10)
        model = make_model(stage)
        before = copied(stage.tuner.trainable(model.network))
        with torch.no_grad():
            earlier = torch.log_softmax(logits(model, batch), -1)
        stage = make_stage(
            updates=10, tuner=Lora(rank=4), objective=SelfDistillation(PLAIN, strength, 2.0, "start", before)
        )
        model = make_model(stage)
        run_stage(model, stage, tmp_path / str(strength))
        with torch.no_grad():
            now = torch.log_softmax(logits(model, batch), -1)
        divergence[strength] = float((earlier.exp() * (earlier - now)).sum())
    assert divergence[50.0] < 0.2 * divergence[0.0]
