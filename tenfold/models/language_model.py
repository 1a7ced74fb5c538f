"""How a batch goes through a causal language model, by the fastest route that is proven right for that model.

Four short cuts make training fast, and none is assumed to be right: rows packed end to end (`packs`), the output
layer applied only at supervised positions (`splits_head`), tokens that rows begin with alike computed once
(`compacts`), and blocks computed by fused functions (`fuses`). `find_route` tries each on the loaded model itself and
drops the one whose answers differ, so an architecture that does not fit costs speed, never correctness.

Shape letters: T tokens in a batch, S supervised positions, N rows, L longest row, H hidden, V vocabulary.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tenfold.data.batch import IGNORED, Batch, pack
from tenfold.kernels.linear_cross_entropy import linear_cross_entropy, token_losses
from tenfold.models.compact import CompactBatch, compacted, whole
from tenfold.models.fused_blocks import blocks_fit, packed_inputs, read_blocks


@dataclass(frozen=True)
class Route:
    """Which short cuts hold for this model; with all off it is the model's own forward on padded rows."""

    packs: bool
    splits_head: bool
    compacts: bool = False
    """Needs `packs`."""
    fuses: bool = False
    """Needs `packs` and `splits_head`."""


@dataclass(frozen=True)
class Head:
    """What turns a hidden state into logits: `softcap(scale * (weight @ hidden + bias))`."""

    weight: Tensor  # [V, H]
    bias: Tensor | None  # [V]
    scale: float
    softcap: float | None


class LanguageModel:
    """A causal language model with its tokenizer: the one door through which batches pass.

    `causal` is the transformers model itself; `network` is what is called: the same, or a PEFT wrapper around it.
    """

    def __init__(
        self,
        causal: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        device: torch.device,
        route: Route,
    ) -> None:
        self.causal = causal
        self.network: nn.Module = causal
        self.tokenizer = tokenizer
        self.device = device
        self.route = route
        self.autocast: torch.dtype | None = None

    def wrap(self, network: nn.Module, *, packs: bool, autocast: torch.dtype | None) -> None:
        """Call `network` (a tuner's wrapper around `causal`) from now on; `packs=False` if it prepends tokens.

        Under dropout every row has noise of its own, so nothing is computed once for several rows. An output layer
        that now computes more than its own product is left to the model.
        """
        self.network = network
        self.autocast = autocast
        if not packs:
            self.route = Route(packs=False, splits_head=False)
            return
        splits_head = self.route.splits_head and _is_plain_product(self.causal.get_output_embeddings())
        self.route = replace(
            self.route,
            splits_head=splits_head,
            compacts=self.route.compacts and not _drops(network, self.causal),
            fuses=self.route.fuses and splits_head and read_blocks(self.causal) is not None,
        )

    def recompute_activations(self) -> None:
        """Recompute each block's activations in the backward pass from here on, instead of keeping them."""
        self.causal.activation_checkpointing_enable()

    def loss_sum(self, batch: Batch, *, label_smoothing: float = 0.0) -> Tensor:
        """Return the sum of cross entropies over the batch's supervised positions, a scalar in fp32."""
        states, targets_S = self._supervised(batch.to(self.device))
        with self.autocasting():
            if not self.route.splits_head:
                return functional.cross_entropy(
                    states.float(), targets_S, reduction="sum", label_smoothing=label_smoothing
                )
            head = read_head(self.causal)
            return linear_cross_entropy(
                states,
                head.weight,
                targets_S,
                bias=head.bias,
                softcap=head.softcap,
                scale=head.scale,
                label_smoothing=label_smoothing,
            )

    @torch.no_grad()
    def token_losses(self, batch: Batch) -> Tensor:
        """Return the negative log likelihood of each supervised token, `[S]` in fp32, in batch order."""
        states, targets_S = self._supervised(batch.to(self.device))
        with self.autocasting():
            if not self.route.splits_head:
                return functional.cross_entropy(states.float(), targets_S, reduction="none")
            head = read_head(self.causal)
            return token_losses(states, head.weight, targets_S, bias=head.bias, softcap=head.softcap, scale=head.scale)

    def _supervised(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return hidden states `[S, H]` (or logits `[S, V]` when the head is not split) and targets `[S]`."""
        with self.autocasting():
            if self.route.packs:
                return self._packed(compacted(batch) if self.route.compacts else whole(batch))
            return self._padded(batch)

    def _packed(self, batch: CompactBatch) -> tuple[Tensor, Tensor]:
        blocks = read_blocks(self.causal) if self.route.fuses else None
        if blocks is not None:
            return blocks(batch), batch.targets
        return self._call(**packed_inputs(batch))[0, batch.supervised], batch.targets

    def _padded(self, batch: Batch) -> tuple[Tensor, Tensor]:
        rows = batch.input_ids.split(batch.lengths)
        input_ids_NL = nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
        mask_NL = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
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
            hidden: Tensor = self.causal.base_model(**inputs, use_cache=False).last_hidden_state
            return hidden
        logits: Tensor = self.network(**inputs, use_cache=False).logits
        return logits

    def autocasting(self) -> AbstractContextManager[object]:
        """Return the context in which this model computes: autocast when fp32 weights train in bf16."""
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.autocast)


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
    vocabulary = causal.config.get_text_config().vocab_size
    generator = torch.Generator().manual_seed(0)
    first, other, second = (
        torch.randint(0, vocabulary, (length,), generator=generator).tolist() for length in (7, 7, 9)
    )
    own = causal(input_ids=torch.tensor([second], device=device), use_cache=False).logits[0]
    for route in (Route(True, True), Route(False, True), Route(True, False)):
        model = LanguageModel(causal, tokenizer=None, device=device, route=route)
        try:
            leaked, _ = model._supervised(_probe(first, second).to(device))
            kept, _ = model._supervised(_probe(other, second).to(device))
            logits = [_logits(causal, route, states) for states in (leaked, kept)]
        except (TypeError, ValueError, NotImplementedError, AttributeError, RuntimeError, IndexError):
            continue
        if _close(logits[0], logits[1], 1e-5) and _close(logits[0], own[:-1], _tolerance(own.dtype)):
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
    except (TypeError, ValueError, NotImplementedError, AttributeError, RuntimeError, IndexError):
        return False
    expected, found = (_logits(model.causal, model.route, each) for each in states)
    return _close(found, expected, _tolerance(model.causal.dtype))


def _fuses(model: LanguageModel, *rows: list[int]) -> bool:
    # on a GPU the blocks are as right, but whether they gain anything there was not measured
    if not (model.route.packs and model.route.splits_head and model.device.type == "cpu"):
        return False
    batch = pack([(number, row, [True] * len(row)) for number, row in enumerate(rows)]).to(model.device)
    try:
        return blocks_fit(model.causal, whole(batch))
    except (TypeError, ValueError, NotImplementedError, AttributeError, RuntimeError, IndexError):
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
    except (TypeError, ValueError, NotImplementedError, AttributeError, RuntimeError, IndexError):
        return False
    finally:
        for parameter, was_required in zip(parameters, required, strict=True):
            parameter.requires_grad_(was_required)
    used = {id(each) for each, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
    return used == {id(each) for each in (weight, bias) if each is not None}


def _drops(network: nn.Module, causal: PreTrainedModel) -> bool:
    in_attention = float(getattr(causal.config.get_text_config(), "attention_dropout", None) or 0.0)
    return in_attention > 0 or any(isinstance(module, nn.Dropout) and module.p > 0 for module in network.modules())


def _probe(first: list[int], second: list[int]) -> Batch:
    in_loss = [True] * len(second)
    return pack([(0, first, [False] * len(first)), (1, second, in_loss)])


def _logits(causal: PreTrainedModel, route: Route, states: Tensor) -> Tensor:
    if not route.splits_head:
        return states
    head = read_head(causal)
    logits = functional.linear(states, head.weight, head.bias).float() * head.scale
    return logits if head.softcap is None else head.softcap * torch.tanh(logits / head.softcap)


def _tolerance(dtype: torch.dtype) -> float:
    # bf16 keeps 8 bits: thirty layers of differently ordered sums drift by a percent or two, a wrong head by far more
    return 1e-4 if dtype == torch.float32 else 0.05


def _close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    difference = (found.float() - expected.float()).norm()
    return bool(difference <= tolerance * expected.float().norm())
