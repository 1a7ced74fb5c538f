"""How a folder becomes a `Trunk` or a `LanguageModel`: weights loaded, its fastest right route found."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from tenfold.models.architecture import family_of
from tenfold.models.language_model import LanguageModel, find_route
from tenfold.models.load import load_network
from tenfold.models.quantized import Nf4
from tenfold.models.trunk import Trunk, find_packing


def open_model(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    dtype: torch.dtype,
    device: torch.device,
    quantization: Nf4 | None = None,
    trust_remote_code: bool = False,
) -> Trunk:
    """Return the model in `folder`, in evaluation mode, with every short cut that is right for it.

    A decoder is a `LanguageModel`, an encoder a `Trunk`.
    """
    network = load_network(
        folder, dtype=dtype, device=device, quantization=quantization, trust_remote_code=trust_remote_code
    )
    if family_of(network.config) == "encoder":
        return Trunk(network, tokenizer, device=device, route=find_packing(network, device))
    return LanguageModel(network, tokenizer, device=device, route=find_route(network, device))
