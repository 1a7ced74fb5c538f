"""How a folder becomes a `LanguageModel`: weights loaded, attention registered, its fastest right route found."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from tenfold.models.language_model import LanguageModel, find_route
from tenfold.models.load import load_network
from tenfold.models.quantized import Nf4


def open_model(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    dtype: torch.dtype,
    device: torch.device,
    quantization: Nf4 | None = None,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Return the model in `folder`, in evaluation mode, with every short cut that is right for it."""
    causal = load_network(
        folder, dtype=dtype, device=device, quantization=quantization, trust_remote_code=trust_remote_code
    )
    return LanguageModel(causal, tokenizer, device=device, route=find_route(causal, device))
