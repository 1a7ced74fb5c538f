"""How a model and its tokenizer are opened from a local folder, ready to be tuned."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForCTC,
    AutoModelForSeq2SeqLM,
    AutoModelForSpeechSeq2Seq,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tenfold.errors import ModelError, OutOfMemory, Problem
from tenfold.models.architecture import Family, family_of
from tenfold.models.attention import register_attention
from tenfold.models.memory import is_out_of_memory
from tenfold.models.quantized import Nf4, keep_trainable, require_bitsandbytes
from tenfold.models.quiet import quiet_loading
from tenfold.models.sources import first_line

Tokenizer: TypeAlias = PreTrainedTokenizerBase
"""A transformers tokenizer, under a name for those who only hand it on."""


OPENERS: dict[Family, Any] = {
    "decoder": AutoModelForCausalLM,
    "encoder": AutoModel,
    "encoder_decoder": AutoModelForSeq2SeqLM,
    "speech_encoder_decoder": AutoModelForSpeechSeq2Seq,
    "speech_encoder": AutoModelForCTC,
}
"""The class of transformers that opens the models of each family."""


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Tokenizer:
    """Return the folder's tokenizer.

    Raises:
        ModelError: the folder holds none, or one that cannot be read.
    """
    with quiet_loading():
        try:
            tokenizer: Tokenizer = AutoTokenizer.from_pretrained(
                folder, trust_remote_code=trust_remote_code, local_files_only=True
            )
        except Exception as error:  # damaged files end in errors of many unrelated types
            raise ModelError(
                Problem(
                    str(folder),
                    f"no usable tokenizer: {first_line(error)}",
                    remedy="make the folder complete: a sound tokenizer.json and tokenizer_config.json",
                )
            ) from error
    return tokenizer


def outline(folder: Path, *, trust_remote_code: bool = False) -> PreTrainedModel:
    """Return the folder's model without its weights: every module and shape, on the meta device.

    Raises:
        ModelError: the configuration is damaged, or is of no family that Tenfold tunes.
    """
    with quiet_loading():
        config = _config(folder, trust_remote_code)
        try:
            with torch.device("meta"):
                network: PreTrainedModel = opener_of(config).from_config(
                    config, dtype=torch.float32, trust_remote_code=trust_remote_code
                )
        except Exception as error:  # a value that fits no model ends in errors of many unrelated types
            raise _unusable_config(folder, error) from error
    network.name_or_path = str(folder)
    return network


def empty_network(folder: Path, *, dtype: torch.dtype) -> PreTrainedModel | None:
    """Return the folder's model as `load_network` would, on the meta device; None where our attention has no place."""
    register_attention()
    with quiet_loading():
        config = _config(folder, trust_remote_code=False)
        try:
            with torch.device("meta"):
                network: PreTrainedModel = opener_of(config).from_config(
                    config, dtype=dtype, attn_implementation="tenfold"
                )
        except Exception:  # whatever it is, `load_network` says it
            return None
    network.name_or_path = str(folder)
    network.tie_weights()
    return network.eval()


def load_network(
    folder: Path,
    *,
    dtype: torch.dtype,
    device: torch.device,
    quantization: Nf4 | None = None,
    trust_remote_code: bool = False,
) -> nn.Module:
    """Return the model in `folder`, in evaluation mode, on `device`; a decoder with its output layer.

    Frozen weights stay in `dtype`. Attention is our packed one where the architecture lets attention be chosen.

    Raises:
        ModelError: of no family that Tenfold tunes, or its files are damaged.
        OutOfMemory: its weights do not fit.
        RecipeError: 4-bit loading was asked for and bitsandbytes is not installed.
    """
    register_attention()
    options: dict[str, object] = {"dtype": dtype, "trust_remote_code": trust_remote_code, "use_safetensors": True}
    if quantization is not None:
        require_bitsandbytes()
        options["quantization_config"] = quantization.config(dtype)
    with quiet_loading():
        opener = opener_of(_config(folder, trust_remote_code))
        try:
            network, report = _open(opener, folder, options)
        except Exception as error:  # damaged files end in errors of many unrelated types
            if is_out_of_memory(error):
                raise _no_room(folder) from error
            raise ModelError(
                Problem(
                    str(folder),
                    f"cannot be opened: {first_line(error)}",
                    remedy="check that the folder is complete and that transformers knows the architecture",
                )
            ) from error
    _require_all_weights(folder, report)
    if quantization is not None:
        keep_trainable(network)
        return network.eval()
    return network.eval().to(device)


def opener_of(config: PreTrainedConfig) -> Any:
    """Return the class of transformers that opens models of this configuration."""
    return OPENERS[family_of(config) or "decoder"]


def _open(opener: Any, folder: Path, options: dict[str, object]) -> tuple[nn.Module, dict[str, Any]]:
    # what is missing or of another shape is told by `_require_all_weights`; transformers would only log it
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True, "local_files_only": True}
    try:
        opened: tuple[nn.Module, dict[str, Any]] = opener.from_pretrained(
            folder, attn_implementation="tenfold", **options
        )
    except ValueError as error:
        if "tenfold" not in str(error) and "attention" not in str(error):
            raise
        opened = opener.from_pretrained(folder, **options)
    return opened


def _no_room(folder: Path) -> OutOfMemory:
    remedy = "set runtime.precision: bf16, tuner.kind: qlora, or a smaller model.name; or close other programs"
    return OutOfMemory(Problem(str(folder), "out of memory while its weights were loaded", remedy=remedy))


def _require_all_weights(folder: Path, report: dict[str, Any]) -> None:
    """Refuse a model of which some weights would be random: the files do not fit the configuration."""
    faults = {
        # an encoder's pooler answers nobody here: heads are put on the hidden states themselves
        "has no weights for": sorted(name for name in report["missing_keys"] if not name.startswith("pooler.")),
        "has weights of another shape for": sorted(name for name, *_ in report["mismatched_keys"]),
    }
    problems = [
        Problem(
            str(folder),
            f"{what} {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}",
            remedy="get the model again: its config.json and its safetensors files do not belong together",
        )
        for what, names in faults.items()
        if names
    ]
    if problems:
        raise ModelError(*problems)


def _config(folder: Path, trust_remote_code: bool) -> PreTrainedConfig:
    """Return the configuration of a model that can be tuned."""
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True
        )
    except Exception as error:  # a damaged file ends in errors of many unrelated types
        raise _unusable_config(folder, error) from error
    if family_of(config) is None and not trust_remote_code:
        allowed = "a model that writes text, or whose states say something of a text or of speech"
        raise ModelError(Problem(str(folder), f"{config.model_type} is no model that can be tuned here", allowed))
    return config


def _unusable_config(folder: Path, error: Exception) -> ModelError:
    remedy = "get the model again, or upgrade transformers if the architecture is new"
    if "trust_remote_code" in str(error):
        remedy = "if you trust its code, set model.trust_remote_code: true"
    return ModelError(Problem(f"{folder}/config.json", f"cannot be used: {first_line(error)}", remedy=remedy))
