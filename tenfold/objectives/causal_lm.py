"""The loss of language modelling: cross entropy of each supervised token given those before it."""

from __future__ import annotations

from dataclasses import dataclass

from tenfold.data.batch import Batch
from tenfold.models.encoder_decoder import EncoderDecoder
from tenfold.models.language_model import LanguageModel
from tenfold.models.trunk import Trunk
from tenfold.objectives.objective import Loss


@dataclass(frozen=True)
class CausalLanguageModelling:
    """Cross entropy summed over supervised tokens.

    `label_smoothing` moves that share of each target's mass evenly over the vocabulary (Szegedy et al. 2015,
    arXiv 1512.00567, section 7).
    """

    label_smoothing: float = 0.0

    def weight(self, batch: Batch) -> int:
        """Return the number of supervised tokens."""
        return batch.num_supervised

    def __call__(self, model: Trunk, batch: Batch) -> Loss:
        """Return the summed cross entropy."""
        assert isinstance(model, LanguageModel | EncoderDecoder), "words are predicted by a language model"
        return Loss(model.loss_sum(batch, label_smoothing=self.label_smoothing))
