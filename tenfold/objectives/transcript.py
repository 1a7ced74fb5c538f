"""The loss of speech models without a decoder: minus the log likelihood of each transcript, over all alignments."""

from __future__ import annotations

from dataclasses import dataclass

from tenfold.data.batch import Batch
from tenfold.models.speech_encoder import SpeechEncoder
from tenfold.models.trunk import Trunk
from tenfold.objectives.objective import Loss


@dataclass(frozen=True)
class TranscriptAlignment:
    """Connectionist temporal classification, summed over rows and weighed by the transcripts' tokens.

    Source: Graves et al. 2006, "Connectionist Temporal Classification", section 4.
    """

    def weight(self, batch: Batch) -> int:
        """Return the number of tokens in the transcripts."""
        return batch.num_supervised

    def __call__(self, model: Trunk, batch: Batch) -> Loss:
        """Return the summed loss."""
        assert isinstance(model, SpeechEncoder), "transcripts are aligned by a speech model"
        return Loss(model.loss_sum(batch))
