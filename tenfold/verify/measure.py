"""How far apart two ways to the same values and gradients are, and how far rounding alone may take them.

The tolerance is measured, on the model and rows at hand: each weight is moved by one unit in its last place, up or down
at random, and what that changes is compared with what adding in another order may change (`MARGIN`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tenfold.data.batch import IGNORED, Batch, Window
from tenfold.engine.checkpoint import on_cpu
from tenfold.engine.ranks import ALONE, Ranks
from tenfold.engine.stage import Stage
from tenfold.engine.training import Training, load_parameters
from tenfold.engine.update import update_once
from tenfold.models.encoder_decoder import EncoderDecoder
from tenfold.models.language_model import LanguageModel
from tenfold.models.speech_encoder import SpeechEncoder
from tenfold.models.trunk import Trunk
from tenfold.verify.finding import Difference

MARGIN: Mapping[torch.dtype, float] = {torch.float32: 8.0, torch.bfloat16: 1.0}
"""How far apart two right ways may be, in what moving every weight by one unit in its last place changes.

A rounding is 0.29 units, as a root mean square. In fp32 the sums of products are rounded term by term: for n terms in L
lanes that comes to 0.29·n/√(2L) units of a term, √2 times that for two ways, where moving the weights comes to √n. With
n = 1,500 the ratio is 3 in the 16 lanes of AVX-512, and 8 in 2 lanes. In bf16 sums are kept in fp32 and only results
are rounded, about twenty in a block, where the weights of seven products are moved: 0.29·√(2·20/7) = 0.7.
"""

REASON = "what rounding may change, measured on these rows"
"""Why values and gradients may differ."""

SMALLEST = 1e-3
"""A gradient below this share of all together counts as that large: what should be 0 is nothing but rounding."""


Values = Mapping[tuple[str, int, int], Tensor]


@dataclass(frozen=True)
class Measured:
    """One update as the engine computes it, before anything moves."""

    loss: float
    gradients: Mapping[str, Tensor]
    values: Values
    """What the model says of each row: log likelihoods of its tokens or transcript, or a head's logits."""


def measure(model: Trunk, stage: Stage, batches: Sequence[Batch], ranks: Ranks = ALONE) -> Measured:
    """Return loss, gradients and values of an update made of `batches`; nothing has moved afterwards."""
    values = row_values(model, batches)
    stage = replace(stage, optim=stage.optim.model_copy(update={"max_gradient_norm": None, "in_backward": False}))
    training = Training.begin(model, stage)
    training.optimizer = torch.optim.SGD(list(training.parameters.values()), lr=0.0)
    own = stage.tuner.state(model.network)
    kept = on_cpu(training.parameters) if own else {}  # what has a state of its own may move weights by itself
    own = on_cpu(own)
    step = update_once(model, stage, Window(tuple(batches)), training, ranks)
    gradients = {
        name: parameter.grad.detach().float().clone()
        for name, parameter in training.parameters.items()
        if parameter.grad is not None
    }
    training.optimizer.zero_grad(set_to_none=True)
    if own:
        load_parameters(training.parameters, kept)
        stage.tuner.restore(model.network, own)
    return Measured(step.loss, gradients, values)


def measure_each(model: Trunk, stage: Stage, rows: Sequence[Batch]) -> Measured:
    """Return the same of an update made of `rows` as the mean, by weight, of one update for each of them.

    How the engine adds micro-batches up is no part of it.
    """
    each = [measure(model, stage, [row]) for row in rows]
    weights = [stage.objective.weight(row) for row in rows]
    shares = [weight / sum(weights) for weight in weights]
    loss = sum(share * one.loss for share, one in zip(shares, each, strict=True))
    gradients: dict[str, Tensor] = {}
    for share, one in zip(shares, each, strict=True):
        for name, gradient in one.gradients.items():
            gradients[name] = gradients[name] + share * gradient if name in gradients else share * gradient
    return Measured(loss, gradients, row_values(model, rows))


@torch.no_grad()
def row_values(model: Trunk, batches: Sequence[Batch]) -> Values:
    """Return what the model says of each row, whatever batch it is in: by task, number, and how often it was met."""
    values: dict[tuple[str, int, int], Tensor] = {}
    for batch in batches:
        for row, value in zip(batch.rows, _values(model, batch), strict=True):
            met = sum(key[:2] == (batch.task, row) for key in values)
            values[batch.task, row, met] = value.float()
    return values


def _values(model: Trunk, batch: Batch) -> tuple[Tensor, ...]:
    """Return what the model says of each row of `batch`."""
    if batch.labels is not None:
        logits = model.logits(batch)
        return torch.split(logits, batch.lengths if len(logits) > len(batch.rows) else 1)
    if isinstance(model, SpeechEncoder):
        return torch.split(model.row_losses(batch), 1)
    if isinstance(model, LanguageModel | EncoderDecoder):
        losses = model.token_losses(batch)
    else:
        losses, _ = model.judged(batch)
    return torch.split(losses, [int((row != IGNORED).sum()) for row in batch.targets.split(batch.lengths)])


@dataclass(frozen=True)
class Tolerances:
    """How far two right ways to one update may be apart."""

    values: float
    loss: float
    gradients: float


def tolerances(model: Trunk, stage: Stage, batches: Sequence[Batch], dtype: torch.dtype) -> Tolerances:
    """Return what rounding in `dtype` may change of an update made of `batches`, measured on it."""
    expected = measure(model, stage, batches)
    with rounded_once_more(model, dtype):
        rounded = measure(model, stage, batches)
    least = torch.finfo(dtype).eps
    values = max(least, values_apart(rounded.values, expected.values))
    gradients = max(least, _gradients_apart(rounded, expected))
    loss = max(values, _losses_apart(rounded, expected))  # a sum's roundings may cancel by chance
    margin = MARGIN[dtype]
    return Tolerances(margin * values, margin * loss, margin * gradients)


def differences(found: Measured, expected: Measured, allowed: Tolerances) -> tuple[Difference, ...]:
    """Return how far `found` is from `expected`."""
    return (
        Difference("values", values_apart(found.values, expected.values), allowed.values),
        Difference("loss", _losses_apart(found, expected), allowed.loss),
        Difference("gradients", _gradients_apart(found, expected), allowed.gradients),
    )


def values_apart(found: Values, expected: Values) -> float:
    """Return the largest difference of a row's values, as a share of the size of an average row's."""
    assert found.keys() == expected.keys(), "the same rows"
    size = torch.stack([value.norm() for value in expected.values()]).pow(2).mean().sqrt()
    return max(float((found[row] - value).norm() / size) for row, value in expected.items())


def values_tolerance(model: Trunk, batches: Sequence[Batch], dtype: torch.dtype = torch.float32) -> float:
    """Return what rounding in `dtype` may change of `row_values`, measured on them."""
    expected = row_values(model, batches)
    with rounded_once_more(model, dtype):
        rounded = row_values(model, batches)
    return MARGIN[dtype] * max(torch.finfo(dtype).eps, values_apart(rounded, expected))


def _losses_apart(found: Measured, expected: Measured) -> float:
    return abs(found.loss - expected.loss) / abs(expected.loss)


def _gradients_apart(found: Measured, expected: Measured) -> float:
    """Return the largest difference of a tensor's gradient, as a share of its size."""
    if found.gradients.keys() != expected.gradients.keys():
        return float("inf")
    total = torch.stack([gradient.norm() for gradient in expected.gradients.values()]).norm()
    return max(
        float((found.gradients[name] - gradient).norm() / torch.maximum(gradient.norm(), SMALLEST * total))
        for name, gradient in expected.gradients.items()
    )


@contextmanager
def rounded_once_more(model: Trunk, dtype: torch.dtype) -> Iterator[None]:
    """Move each weight by one unit in the last place of `dtype`, up or down at random, always alike, in the block."""
    both = [*model.network.parameters(), *model.heads.parameters()]
    parameters = [parameter for parameter in both if parameter.is_floating_point()]
    kept = [parameter.detach().clone() for parameter in parameters]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in parameters:
            sign = torch.randint(0, 2, parameter.shape, generator=generator).to(parameter.device) * 2 - 1
            parameter.mul_(1 + sign * torch.finfo(dtype).eps)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, kept, strict=True):
                parameter.copy_(value)
