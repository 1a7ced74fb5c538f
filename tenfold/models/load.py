"""How a model and its tokenizer are opened from a local folder, ready to be tuned."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from tenfold.errors import ModelError, Problem
from tenfold.models.attention import register_attention
from tenfold.models.quantized import Nf4, keep_trainable, require_bitsandbytes
from tenfold.models.quiet import quiet_loading

Tokenizer: TypeAlias = PreTrainedTokenizerBase
"""A transformers tokenizer, under a name for those who only hand it on."""


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Tokenizer:
    """Return the folder's tokenizer.

    Raises:
        ModelError: the folder holds none, or one that cannot be read.
    """
    with quiet_loading():
        try:
            tokenizer: Tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        except (ValueError, OSError, KeyError, TypeError) as error:
            raise ModelError(
                Problem("model.name", f"no usable tokenizer in {folder}: {error}", remedy="add tokenizer.json")
            ) from error
    return tokenizer


def load_network(
    folder: Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    quantization: Nf4 | None = None,
    trust_remote_code: bool = False,
) -> nn.Module:
    """Return the causal language model in `folder`, in evaluation mode, on `device`.

    Frozen weights stay in `dtype`. Attention is our packed one where the architecture lets attention be chosen.

    Raises:
        ModelError: not a causal language model, or its files are damaged.
        RecipeError: 4-bit loading was asked for and bitsandbytes is not installed.
    """
    register_attention()
    options: dict[str, object] = {"dtype": dtype, "trust_remote_code": trust_remote_code, "use_safetensors": True}
    if quantization is not None:
        require_bitsandbytes()
        options["quantization_config"] = quantization.config(dtype)
    with quiet_loading():
        _require_causal(folder, trust_remote_code)
        try:
            network = _open(folder, options)
        except (ValueError, OSError, KeyError, RuntimeError) as error:
            raise ModelError(
                Problem(
                    "model.name",
                    f"{folder} cannot be opened as a causal language model: {str(error).strip()[:300]}",
                    remedy="check that the folder is complete and that transformers knows the architecture",
                )
            ) from error
    if quantization is not None:
        keep_trainable(network)
        return network.eval()
    return network.eval().to(device)


def _open(folder: Path, options: dict[str, object]) -> nn.Module:
    try:
        network: nn.Module = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="tenfold", **options)
    except ValueError as error:
        if "tenfold" not in str(error) and "attention" not in str(error):
            raise
        network = AutoModelForCausalLM.from_pretrained(folder, **options)
    return network


def _require_causal(folder: Path, trust_remote_code: bool) -> None:
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (ValueError, OSError, KeyError) as error:
        raise ModelError(Problem("model.name", f"{folder}/config.json: {str(error).strip()[:300]}")) from error
    if type(config) not in AutoModelForCausalLM._model_mapping and not trust_remote_code:
        raise ModelError(
            Problem("model.name", f"{config.model_type} is not a causal language model", allowed="a text generator")
        )
