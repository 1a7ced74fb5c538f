"""How a batch goes through a causal language model, by the fastest route that is proven right for that model.

Four short cuts make training fast, and none is assumed to be right: rows packed end to end (`packs`), the output
layer applied only at supervised positions (`splits_head`), tokens that rows begin with alike computed once
(`compacts`), and blocks computed by fused functions (`fuses`). `find_route` tries each on the loaded model itself and
drops the one whose answers differ, so an architecture that does not fit costs speed, never correctness.

Shape letters: T tokens in a batch, S supervised positions, N rows, L longest row, H hidden, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from tenfold.data.batch import IGNORED, Batch, pack
from tenfold.kernels.linear_cross_entropy import linear_cross_entropy, token_losses
from tenfold.models.compact import CompactBatch, compacted, whole
from tenfold.models.fused_blocks import blocks_fit, packed_inputs, read_blocks
from tenfold.models.trunk import MISFITS, Route, Trunk, close, padded, probe, probe_rows, tolerance


@dataclass(frozen=True)
class Head:
    """What turns a hidden state into logits: `softcap(scale * (weight @ hidden + bias))`."""

    weight: Tensor  # [V, H]
    bias: Tensor | None  # [V]
    scale: float
    softcap: float | None

    def logits(self, states: Tensor) -> Tensor:
        """Return the logits `[S, V]` in fp32 of hidden states `[S, H]`."""
        logits = functional.linear(states, self.weight, self.bias).float() * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


class LanguageModel(Trunk):
    """A causal language model: a trunk that also predicts the next token."""

    def route_through(self, network: nn.Module) -> Route:
        """Return which short cuts still hold in `network`, a wrapper around the base.

        Under dropout every row has noise of its own, so nothing is computed once for several rows. An output layer
        that now computes more than its own product is left to the model. Whether the blocks can still be fused is seen
        batch by batch, for adapters may act in one and not in the next.
        """
        own = self._own_route
        splits_head = own.splits_head and _is_plain_product(self.base.get_output_embeddings())
        return replace(
            own,
            splits_head=splits_head,
            compacts=own.compacts and not _drops(network, self.base),
            fuses=own.fuses and splits_head,
        )

    @property
    def call_options(self) -> dict[str, object]:
        """What else the base's forward is given: no cache of keys and values while rows are read whole."""
        return {"use_cache": False}

    def loss_sum(self, batch: Batch, *, label_smoothing: float = 0.0) -> Tensor:
        """Return the sum of cross entropies over the batch's supervised positions, a scalar in fp32."""
        return self.loss_of(*self.supervised(batch), label_smoothing=label_smoothing)

    def supervised(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what stands at the batch's supervised positions, for `loss_of` and `logits_of`, and targets `[S]`."""
        return self._supervised(batch)

    def loss_of(self, states: Tensor, targets: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
        """Return the summed cross entropy of what `supervised` returned, a scalar in fp32."""
        with self.autocasting():
            return self._cross_entropy(states, targets, label_smoothing=label_smoothing)

    def row_losses(self, batch: Batch) -> Tensor:
        """Return the cross entropy summed over each row's supervised positions, [N] in fp32, with a gradient."""
        counts = [int((row != IGNORED).sum()) for row in batch.targets.split(batch.lengths)]
        states, targets_S = self._supervised(batch)
        with self.autocasting():
            rows = zip(states.split(counts), targets_S.split(counts), strict=True)
            return torch.stack([self._cross_entropy(*row, label_smoothing=0.0) for row in rows])

    def _cross_entropy(self, states: Tensor, targets: Tensor, *, label_smoothing: float) -> Tensor:
        if not self.route.splits_head:
            logits = states.float()
            return functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=label_smoothing)
        head = read_head(self.base)
        return linear_cross_entropy(
            states,
            head.weight,
            targets,
            bias=head.bias,
            softcap=head.softcap,
            scale=head.scale,
            label_smoothing=label_smoothing,
        )

    def head(self) -> Head | None:
        """Return the output layer as it is now; None where what `supervised` returns are logits already."""
        return read_head(self.base) if self.route.splits_head else None

    def logits_of(self, states: Tensor, head: Head | None) -> Tensor:
        """Return the logits `[S, V]` in fp32 of states that `supervised` returned, by that head."""
        with self.autocasting():
            return states.float() if head is None else head.logits(states)

    @torch.no_grad()
    def token_losses(self, batch: Batch) -> Tensor:
        """Return the negative log likelihood of each supervised token, `[S]` in fp32, in batch order."""
        states, targets_S = self._supervised(batch)
        with self.autocasting():
            if not self.route.splits_head:
                return functional.cross_entropy(states.float(), targets_S, reduction="none")
            head = read_head(self.base)
            return token_losses(states, head.weight, targets_S, bias=head.bias, softcap=head.softcap, scale=head.scale)

    def _supervised(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return hidden states `[S, H]` (or logits `[S, V]` when the head is not split) and targets `[S]`."""
        with self.autocasting():
            if self.route.packs:
                # cut where the batch is: on a GPU each look at a value would wait for all work before it
                compact = compacted(batch) if self.route.compacts else whole(batch)
                return self._packed(compact.to(self.device))
            return self._padded(batch.to(self.device))

    def _packed(self, batch: CompactBatch) -> tuple[Tensor, Tensor]:
        blocks = read_blocks(self.base) if self.route.fuses else None
        if blocks is not None:
            return blocks(batch), batch.targets
        return self._call(**packed_inputs(batch))[0, batch.supervised], batch.targets

    def _padded(self, batch: Batch) -> tuple[Tensor, Tensor]:
        input_ids_NL, mask_NL = padded(batch)
        targets_NL = nn.utils.rnn.pad_sequence(
            list(batch.targets.split(batch.lengths)), batch_first=True, padding_value=IGNORED
        )
        states = self._call(input_ids=input_ids_NL, attention_mask=mask_NL)
        # prompt methods answer for their virtual tokens too, which come first
        states = states[:, -input_ids_NL.shape[1] :]
        supervised_NL = targets_NL != IGNORED
        return states[supervised_NL], targets_NL[supervised_NL]

    def _call(self, **inputs: object) -> Tensor:
        if self.route.splits_head:
            hidden: Tensor = self.base.base_model(**inputs, use_cache=False).last_hidden_state
            return hidden
        logits: Tensor = self.network(**inputs, use_cache=False).logits
        return logits


def read_head(causal: PreTrainedModel) -> Head:
    """Return the output layer as the weights and constants that the cross-entropy kernel needs."""
    layer = causal.get_output_embeddings()
    config = causal.config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    divisor = float(getattr(config, "logits_scaling", None) or 1.0)
    softcap = getattr(config, "final_logit_softcapping", None)
    return Head(
        weight=layer.weight,
        bias=getattr(layer, "bias", None),
        scale=scale / divisor,
        softcap=None if softcap is None else float(softcap),
    )


@torch.no_grad()
def find_route(causal: PreTrainedModel, device: torch.device) -> Route:
    """Return the short cuts that give this model's own answers, found by trying them on it.

    Packing must not leak: changing the first of two packed rows must leave the second one's logits as they were,
    and those must agree with the row run alone. The split head must agree with the model's own logits, and rows that
    begin alike with the same rows in full.
    """
    first, other, second = probe_rows(causal.config.get_text_config().vocab_size)
    own = causal(input_ids=torch.tensor([second], device=device), use_cache=False).logits[0]
    for route in (Route(True, True), Route(False, True), Route(True, False)):
        model = LanguageModel(causal, tokenizer=None, device=device, route=route)
        try:
            leaked, _ = model._supervised(probe(first, second).to(device))
            kept, _ = model._supervised(probe(other, second).to(device))
            logits = [_logits(causal, route, states) for states in (leaked, kept)]
        except MISFITS:
            continue
        if close(logits[0], logits[1], 1e-5) and close(logits[0], own[:-1], tolerance(own.dtype)):
            compacts = route.packs and _compacts(model, first, other, second)
            return replace(route, compacts=compacts, fuses=_fuses(model, first, other, second))
    return Route(False, False)


def _compacts(model: LanguageModel, beginning: list[int], first: list[int], second: list[int]) -> bool:
    # what is in the loss is never shared, so the beginning is not
    rows = [
        (number, beginning + rest, [False] * len(beginning) + [True] * len(rest))
        for number, rest in enumerate((first, second))
    ]
    batch = pack(rows).to(model.device)
    try:
        states = [model._packed(each)[0] for each in (whole(batch), compacted(batch))]
    except MISFITS:
        return False
    expected, found = (_logits(model.base, model.route, each) for each in states)
    return close(found, expected, tolerance(model.base.dtype))


def _fuses(model: LanguageModel, *rows: list[int]) -> bool:
    # on a GPU the blocks are as right, but whether they gain anything there was not measured
    if not (model.route.packs and model.route.splits_head and model.device.type == "cpu"):
        return False
    batch = pack([(number, row, [True] * len(row)) for number, row in enumerate(rows)]).to(model.device)
    try:
        return blocks_fit(model.base, whole(batch))
    except MISFITS:
        return False


@torch.enable_grad()
def _is_plain_product(layer: nn.Module) -> bool:
    """Return whether nothing but `layer.weight` (and `layer.bias`) makes the answers of `layer`.

    Found by trying: an adapter on the layer, or one that shares its tensors, is a further parameter that the answers
    have a gradient for, even where it still changes none of them.
    """
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    if not isinstance(weight, Tensor):
        return False
    parameters = list(layer.parameters())
    required = [parameter.requires_grad for parameter in parameters]
    try:
        layer.requires_grad_(True)
        answer = layer(torch.ones(1, weight.shape[1], dtype=weight.dtype, device=weight.device))
        gradients = torch.autograd.grad(answer.sum(), parameters, allow_unused=True)
    except MISFITS:
        return False
    finally:
        for parameter, was_required in zip(parameters, required, strict=True):
            parameter.requires_grad_(was_required)
    used = {id(each) for each, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
    return used == {id(each) for each in (weight, bias) if each is not None}


def _drops(network: nn.Module, causal: PreTrainedModel) -> bool:
    in_attention = float(getattr(causal.config.get_text_config(), "attention_dropout", None) or 0.0)
    return in_attention > 0 or any(isinstance(module, nn.Dropout) and module.p > 0 for module in network.modules())


def _logits(causal: PreTrainedModel, route: Route, states: Tensor) -> Tensor:
    return read_head(causal).logits(states) if route.splits_head else states
