"""How a batch goes through a speech model without a decoder, which aligns transcript and sound by itself: Wav2Vec2 …

The loss is that of connectionist temporal classification: minus the log of the probability of all alignments that read
as the transcript. Source: Graves et al. 2006, "Connectionist Temporal Classification", section 4.

Shape letters: N rows, P positions of the encoder, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from tenfold.data.batch import IGNORED, Batch
from tenfold.models.encoder_decoder import fitted
from tenfold.models.generate import Answer
from tenfold.models.processor import Processor
from tenfold.models.trunk import MISFITS, Route, Trunk, close, tolerance


class SpeechEncoder(Trunk):
    """A model that writes what it hears, a token (or none) at each position of its encoder.

    Some of these models normalise over the whole of a padded line, so that a row's answer depends on the length of the
    others (the `group` norm of Wav2Vec2's first version). Whether this one does is found by trying, and then each row
    is heard alone. SpecAugment is off: it draws from numpy's global generator, so that no run could be made again.
    """

    def __init__(self, base: PreTrainedModel, processor: Processor, *, device: torch.device) -> None:
        super().__init__(base, processor.tokenizer, device=device, route=Route(packs=False))
        self.processor = processor
        self._dtype = base.dtype
        self._silence_augmentation()
        self.hears_together = self._batches_are_right()

    def rebase(self, base: torch.nn.Module) -> None:
        """Go on with `base`: the model with what was trained merged into it, plain again."""
        super().rebase(base)
        self._silence_augmentation()

    def loss_sum(self, batch: Batch) -> Tensor:
        """Return the sum over rows of minus the log likelihood of the transcript, a scalar in fp32."""
        return self._losses(batch).sum()

    @torch.no_grad()
    def row_losses(self, batch: Batch) -> Tensor:
        """Return minus the log likelihood of each row's transcript, [N] in fp32."""
        return self._losses(batch)

    @torch.no_grad()
    def answers(self, batch: Batch, *, max_new_tokens: int) -> list[Answer]:
        """Return the transcript that the likeliest token at each position reads as; its length has no limit."""
        logits_NPV, lengths = self._logits(batch)
        texts = []
        for row, length in zip(logits_NPV.argmax(-1), lengths.tolist(), strict=True):
            # the tokenizer of these models joins equal neighbours and drops blanks
            text = str(self.tokenizer.decode(row[:length].tolist(), skip_special_tokens=False)).strip()
            texts.append(Answer(text, is_cut=False))
        return texts

    def _losses(self, batch: Batch) -> Tensor:
        logits_NPV, lengths = self._logits(batch)
        rows = [row[row != IGNORED] for row in batch.targets.split(batch.lengths)]
        log_probabilities_PNV = functional.log_softmax(logits_NPV.float(), dim=-1).transpose(0, 1)
        with torch.backends.cudnn.flags(enabled=False):
            return functional.ctc_loss(
                log_probabilities_PNV,
                torch.cat(rows).to(self.device),
                lengths,
                torch.tensor([len(row) for row in rows], device=self.device),
                blank=self._blank,
                reduction="none",
            )

    @property
    def _blank(self) -> int:
        return int(self.base.config.pad_token_id)

    def _logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return logits [N, P, V], and how many positions of each row are its own [N]."""
        assert batch.source is not None, "there is a clip to hear"
        inputs = {name: fitted(value, self.device, self._dtype) for name, value in batch.source.read().items()}
        return self._hear(inputs) if self.hears_together or len(batch.rows) == 1 else self._hear_one_by_one(inputs)

    def _hear(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        with self.autocasting():
            logits: Tensor = self.network(**inputs).logits
        lengths = self._num_positions(inputs["attention_mask"].sum(-1))
        return logits, lengths.clamp(max=logits.shape[1])

    def _hear_one_by_one(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        heard = []
        for number, length in enumerate(inputs["attention_mask"].sum(-1).tolist()):
            heard.append(self._hear({name: value[number : number + 1, :length] for name, value in inputs.items()}))
        logits = torch.nn.utils.rnn.pad_sequence([row[0] for row, _ in heard], batch_first=True)
        return logits, torch.cat([lengths for _, lengths in heard])

    def _num_positions(self, num_samples: Tensor) -> Tensor:
        lengths: Tensor = self.base._get_feat_extract_output_lengths(num_samples)
        return lengths.to(torch.int64)

    def _silence_augmentation(self) -> None:
        self.base.config.apply_spec_augment = False

    @torch.no_grad()
    def _batches_are_right(self) -> bool:
        """Return whether a short clip beside a long one gets the answers that it gets alone."""
        generator = torch.Generator().manual_seed(0)
        rate = self.processor.features.rate
        long, short = (torch.randn(size, generator=generator).numpy() for size in (rate, rate // 2))
        try:
            logits = []
            for waves in ([short], [long, short]):
                features = self.processor.features(waves)
                inputs = {name: fitted(value, self.device, self._dtype) for name, value in features.items()}
                found, lengths = self._hear(inputs)
                logits.append(found[-1, : int(lengths[-1])])
        except MISFITS:
            return False
        return logits[0].shape == logits[1].shape and close(logits[1], logits[0], tolerance(self._dtype))
