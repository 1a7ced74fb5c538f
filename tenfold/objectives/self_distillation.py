"""Learning new rows while answering as before: the earlier model's own distribution is a second target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tenfold.data.batch import Batch
from tenfold.models.language_model import Head, LanguageModel
from tenfold.models.trunk import Trunk
from tenfold.objectives.causal_lm import CausalLanguageModelling
from tenfold.objectives.objective import Loss

PIECE_LOGITS = 4 * 2**20
"""Logits of one piece, of each of the two models; only one piece's are held at a time."""


@dataclass(frozen=True)
class SelfDistillation:
    """Cross entropy plus `strength * T² * KL(before ‖ now)`, summed over supervised tokens, at temperature T.

    `before` holds what trains as it was: the earlier model is made by putting it in place for a forward pass without
    gradients and dropout. That is one more forward pass; in return the distribution is whole, nothing is kept on disk,
    and a resumed run needs nothing more. (Kept on disk it would have to be cut to its top tokens, and with one epoch,
    as usual in a stage, it costs the same pass.) `origin` says where `before` was taken.

    Source: Li & Hoiem 2016, "Learning without Forgetting" (arXiv 1606.09282), equation 3 and section 3, on the stage's
    own rows. T² as in Hinton et al. keeps the two gradients in proportion whatever T is.
    """

    plain: CausalLanguageModelling
    strength: float
    temperature: float
    origin: str
    before: Mapping[str, Tensor] = field(repr=False)

    def weight(self, batch: Batch) -> int:
        """Return the number of supervised tokens."""
        return self.plain.weight(batch)

    def __call__(self, model: Trunk, batch: Batch) -> Loss:
        """Return the summed loss."""
        assert isinstance(model, LanguageModel), "distributions over tokens come from a language model"
        with torch.no_grad(), self._as_before(model):
            earlier, _ = model.supervised(batch)
            head = model.head()
            # what trains is put back at the end of the block; a detached tensor stays the earlier one
            earlier_head = None if head is None else replace(head, weight=head.weight.detach(), bias=_kept(head.bias))
        now, targets = model.supervised(batch)
        total = model.loss_of(now, targets, label_smoothing=self.plain.label_smoothing)
        factor = self.strength * self.temperature**2
        for rows in _pieces(len(targets), model.base.config.get_text_config().vocab_size):
            total = total + factor * checkpoint(
                self._divergence, model, now[rows], earlier[rows], earlier_head, use_reentrant=False
            )
        return Loss(total)

    def _divergence(self, model: LanguageModel, now: Tensor, earlier: Tensor, earlier_head: Head | None) -> Tensor:
        targets = functional.log_softmax(model.logits_of(earlier, earlier_head) / self.temperature, -1)
        found = functional.log_softmax(model.logits_of(now, model.head()) / self.temperature, -1)
        return functional.kl_div(found, targets, reduction="sum", log_target=True)

    @contextmanager
    def _as_before(self, model: LanguageModel) -> Iterator[None]:
        """Let the network be the earlier one inside the block: its tensors change places, nothing is copied."""
        parameters = {name: value for name, value in model.network.named_parameters() if name in self.before}
        now = {name: parameter.data for name, parameter in parameters.items()}
        was_training = model.network.training
        model.network.eval()
        try:
            for name, parameter in parameters.items():
                parameter.data = self.before[name]
            yield
        finally:
            for name, parameter in parameters.items():
                parameter.data = now[name]
            model.network.train(was_training)


def _kept(bias: Tensor | None) -> Tensor | None:
    return None if bias is None else bias.detach()


def _pieces(num_rows: int, vocabulary: int) -> Iterator[slice]:
    size = max(1, PIECE_LOGITS // vocabulary)
    for start in range(0, num_rows, size):
        yield slice(start, start + size)
