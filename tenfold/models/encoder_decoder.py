"""How a batch goes through a model that reads with an encoder and writes with a decoder: T5, BART, Marian, Whisper …

Rows are padded: what the encoder reads on the right with a mask, the decoder's tokens on the right, where no token that
counts can see them.

Shape letters: N rows, L longest row of decoder tokens, S supervised positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import GenerationMixin, PreTrainedModel

from tenfold.data.batch import IGNORED, Batch
from tenfold.models.generate import Answer, Sampling, generation_settings, until_end
from tenfold.models.processor import Processor
from tenfold.models.trunk import Route, Trunk, padded


class EncoderDecoder(Trunk):
    """A model that writes a text, given another text or a clip that its encoder reads."""

    def __init__(self, base: PreTrainedModel, processor: Processor, *, device: torch.device) -> None:
        super().__init__(base, processor.tokenizer, device=device, route=Route(packs=False))
        self.processor = processor
        self._dtype = base.dtype

    def loss_sum(self, batch: Batch, *, label_smoothing: float = 0.0) -> Tensor:
        """Return the sum of cross entropies over the batch's supervised positions, a scalar in fp32."""
        logits, targets, _ = self._supervised(batch)
        return functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=label_smoothing)

    @torch.no_grad()
    def token_losses(self, batch: Batch) -> Tensor:
        """Return the negative log likelihood of each supervised token, [S] in fp32, in batch order."""
        logits, targets, _ = self._supervised(batch)
        return functional.cross_entropy(logits, targets, reduction="none")

    @torch.no_grad()
    def row_losses(self, batch: Batch) -> Tensor:
        """Return the negative log likelihood of each row's supervised tokens, [N] in fp32."""
        logits, targets, owners = self._supervised(batch)
        losses = functional.cross_entropy(logits, targets, reduction="none")
        return torch.zeros(len(batch.rows), device=losses.device).index_add_(0, owners, losses)

    @torch.no_grad()
    def answers(self, batch: Batch, *, max_new_tokens: int) -> list[Answer]:
        """Return what the model writes for each row's source, greedily, after the row's tokens (of one length)."""
        starts_NL, _ = padded(batch.to(self.device))
        assert len(set(batch.lengths)) == 1, "the rows of a batch start from equally many tokens"
        end_ids = self._end_ids
        limit = self._room(max_new_tokens, starts_NL.shape[1])
        pad_id = self.tokenizer.pad_token_id
        config = generation_settings(limit, end_ids, end_ids[0] if pad_id is None else pad_id, Sampling())
        # said as a length, since many a file brings one of its own, which would then be warned of
        config.max_length, config.max_new_tokens = starts_NL.shape[1] + limit, None
        inputs = {**self._read(batch), "decoder_input_ids": starts_NL, "generation_config": config}
        if "attention_mask" not in inputs:  # Whisper attends to the silence after a clip too
            sound = inputs["input_features"]
            inputs["attention_mask"] = torch.ones(
                sound.shape[0], sound.shape[-1], dtype=torch.int64, device=self.device
            )
        with self.autocasting():
            if self.processor.sound is None:
                tokens: Tensor = self.network.generate(**inputs)  # type: ignore[operator]
            else:
                # Whisper's own `generate` cuts long recordings into pieces and chooses first tokens by itself
                tokens = GenerationMixin.generate(self.base, **inputs)
        rows = [until_end(row, end_ids) for row in tokens[:, starts_NL.shape[1] :].tolist()]
        return [Answer(self._decoded(row), is_cut=len(row) >= limit) for row in rows]

    def _decoded(self, row: list[int]) -> str:
        text: str = self.tokenizer.decode(row, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text.strip()

    @property
    def _end_ids(self) -> tuple[int, ...]:
        configured = self.base.generation_config.eos_token_id
        ids = {configured} if isinstance(configured, int) else set(configured or ())
        return tuple(sorted(ids | {self.tokenizer.eos_token_id}))

    def _room(self, max_new_tokens: int, num_given: int) -> int:
        # BART and Whisper have a number of places; T5 has not
        places = getattr(self.base.config, "max_target_positions", None)
        places = places or getattr(self.base.config, "max_position_embeddings", None)
        return max_new_tokens if not isinstance(places, int) else max(1, min(max_new_tokens, places - num_given))

    def _supervised(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits [S, V] in fp32, targets [S], and the row that each belongs to [S]."""
        batch = batch.to(self.device)
        input_ids_NL, _ = padded(batch)
        targets_NL = nn.utils.rnn.pad_sequence(
            list(batch.targets.split(batch.lengths)), batch_first=True, padding_value=IGNORED
        )
        # the last token of the longest row predicts nothing
        input_ids_NL, targets_NL = input_ids_NL[:, :-1], targets_NL[:, :-1]
        read = self._read(batch)  # before anything is cast: a spectrum in bf16 would be another sound
        with self.autocasting():
            logits: Tensor = self.network(**read, decoder_input_ids=input_ids_NL, use_cache=False).logits
        supervised_NL = targets_NL != IGNORED
        return logits[supervised_NL].float(), targets_NL[supervised_NL], supervised_NL.nonzero()[:, 0]

    def _read(self, batch: Batch) -> Mapping[str, Tensor]:
        assert batch.source is not None, "there is something for the encoder to read"
        return {name: fitted(value, self.device, self._dtype) for name, value in batch.source.read().items()}


def fitted(value: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return `value` on `device`; numbers that are no tokens in the network's own dtype."""
    return value.to(device, dtype) if value.is_floating_point() else value.to(device)
