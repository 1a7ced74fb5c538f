"""How a folder becomes a `Trunk` or a `LanguageModel`: weights loaded, its fastest right route found."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.distributed.device_mesh import DeviceMesh
from transformers import PreTrainedTokenizerBase

from tenfold.models.architecture import family_of
from tenfold.models.encoder_decoder import EncoderDecoder
from tenfold.models.language_model import LanguageModel, find_route
from tenfold.models.load import load_network
from tenfold.models.load_parts import load_parts
from tenfold.models.processor import Processor, open_processor
from tenfold.models.quantized import Nf4
from tenfold.models.sharding import Shards, load_in_turn
from tenfold.models.speech_encoder import SpeechEncoder
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

    A decoder is a `LanguageModel`, an encoder a `Trunk`; what reads text or hears speech and writes is an
    `EncoderDecoder`, and what aligns speech with a transcript a `SpeechEncoder`.
    """
    network = load_network(
        folder, dtype=dtype, device=device, quantization=quantization, trust_remote_code=trust_remote_code
    )
    family = family_of(network.config)
    if family in ("encoder_decoder", "speech_encoder_decoder", "speech_encoder"):
        processor = open_processor(folder, network.config, tokenizer, family)
        kind = SpeechEncoder if family == "speech_encoder" else EncoderDecoder
        return kind(network, processor, device=device)
    if family == "encoder":
        return Trunk(network, tokenizer, device=device, route=find_packing(network, device))
    return LanguageModel(network, tokenizer, device=device, route=find_route(network, device))


def open_sharded(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    mesh: DeviceMesh,
    *,
    dtype: torch.dtype,
    compute_dtype: torch.dtype | None,
    device: torch.device,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Return the decoder in `folder` as `open_model` does, of whose weights each rank of `mesh` holds a part.

    Blocks are gathered in `compute_dtype`, where one is given. Every rank calls this alike, and reads its own part
    where the files allow that; else whole models are loaded one after the other.
    """

    shards = None
    if not trust_remote_code:
        shards = load_parts(folder, mesh, dtype=dtype, compute_dtype=compute_dtype, device=device)

    def load() -> Shards:
        on_cpu = torch.device("cpu")
        network = load_network(folder, dtype=dtype, device=on_cpu, trust_remote_code=trust_remote_code)
        return Shards(network, mesh, compute_dtype=compute_dtype)

    shards = shards or load_in_turn(load, mesh)
    network = shards.network.to(device)
    route = shards.gathered(lambda: find_route(network, device))
    model = LanguageModel(network, tokenizer, device=device, route=route)
    model.shards = shards
    return model


def processor_of(model: Trunk) -> Processor:
    """Return what stands before `model`."""
    if isinstance(model, EncoderDecoder | SpeechEncoder):
        return model.processor
    return Processor(model.tokenizer, "decoder" if isinstance(model, LanguageModel) else "encoder")
