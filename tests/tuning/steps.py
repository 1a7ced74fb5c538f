"""What every test of a tuner does: build a tiny model, ask for its logits, take a few training steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tenfold.tuning.tuner import Tuner
from tests.tiny_models import VOCABULARY, tiny_model

IDS = torch.randint(3, VOCABULARY, (2, 12), generator=torch.Generator().manual_seed(7))


def build(family: str = "llama", *, dtype: torch.dtype = torch.float32, **overrides: object) -> nn.Module:
    """Return the same random model each time it is called with the same arguments."""
    model = tiny_model(family, attention="sdpa", **overrides)
    # the parameters alone, as loading does it: rotary frequencies stay in fp32
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


def scores(model: nn.Module) -> Tensor:
    """Return logits for `IDS`; methods that prepend tokens answer for those too, which are cut off."""
    answer: Tensor = model(input_ids=IDS, attention_mask=torch.ones_like(IDS), use_cache=False).logits
    return answer.float()[:, -IDS.shape[1] :]


@torch.no_grad()
def logits(model: nn.Module) -> Tensor:
    return scores(model.eval())


def loss(model: nn.Module) -> Tensor:
    return nn.functional.cross_entropy(scores(model)[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())


def train(tuner: Tuner, model: nn.Module, *, steps: int, rate: float, total: int | None = None) -> list[float]:
    """Take AdamW steps in the engine's order; return the loss before each and after the last."""
    optimizer = torch.optim.AdamW(tuner.parameter_groups(model, rate), weight_decay=0.0)
    model.train()
    losses = []
    for update in range(1, steps + 1):
        value = loss(model)
        losses.append(value.item())
        penalty = tuner.penalty(model)
        (value if penalty is None else value + penalty).backward()
        optimizer.step()
        tuner.after_update(model, update, total or steps)
        optimizer.zero_grad()
    model.eval()
    with torch.no_grad():
        losses.append(loss(model).item())
    return losses


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def difference(found: Tensor, expected: Tensor) -> float:
    return (found - expected).abs().max().item()
