"""A tiny causal language model and byte tokenizer, both made in code."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from tenfold.data.batch import IGNORED, Batch
from tenfold.models.trunk import Route

END = 256


class ByteTokenizer:
    """A token a byte, and 256 for the end."""

    bos_token_id: int | None = None
    eos_token_id: int | None = END

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return list(text.encode())

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
        return bytes(token for token in token_ids if token < 256).decode(errors="replace")


class PlainModel:
    """Row by row through the model's own logits: the slow way that nothing can be wrong with."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.tokenizer = ByteTokenizer()
        self.route = Route(packs=False)
        self.batches: list[Batch] = []

    def autocasting(self) -> AbstractContextManager[object]:
        return nullcontext()

    @torch.no_grad()
    def token_losses(self, batch: Batch) -> Tensor:
        assert not any(module.training for module in self.network.modules())
        self.batches.append(batch)
        losses = []
        for ids, targets in zip(batch.input_ids.split(batch.lengths), batch.targets.split(batch.lengths), strict=True):
            log_probabilities = self.network(input_ids=ids[None]).logits[0].log_softmax(-1)
            losses += [-log_probabilities[t, y] for t, y in enumerate(targets.tolist()) if y != IGNORED]
        return torch.stack(losses)


def make_network(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=258,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.6,  # large enough for answers that depend on the prompt
        bos_token_id=None,
        eos_token_id=END,
        attention_dropout=0.5,  # shows when something is judged in training mode
    )
    return LlamaForCausalLM(config).eval()
