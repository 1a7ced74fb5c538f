"""Tuning with any method of the `peft` package: attach, train in fp32, save a plain PEFT folder, merge."""

from __future__ import annotations

from pathlib import Path

import peft
import torch
from peft.tuners.ln_tuning.layer import LNTuningLayer
from peft.utils.other import ModulesToSaveWrapper
from torch import nn

from tenfold.errors import Problem, RecipeError
from tenfold.models.architecture import family_of_network
from tenfold.models.quantized import Nf4
from tenfold.recipe.tuner_settings import TunerSettings
from tenfold.recipe.tuners import Peft, kind_of
from tenfold.tuning.adapter_files import adapter_state, load_adapter, write_adapter
from tenfold.tuning.defaults import TunerDefaults
from tenfold.tuning.fused_lora import use_fused_layers
from tenfold.tuning.merging import merge_adapter
from tenfold.tuning.peft_config import check_options, explained, make_config, method_name, packs
from tenfold.tuning.precision import bridge, hold_in_fp32
from tenfold.tuning.targets import require_targets


class PeftTuner(TunerDefaults):
    """Trains what a PEFT method adds; the base weights never change."""

    trains_base_weights = False
    loads_in_fp32 = False
    saves_peft = True

    def __init__(self, settings: TunerSettings) -> None:
        self.settings = settings
        method = method_name(settings)
        self.name = method.lower() if isinstance(settings, Peft) else kind_of(settings)
        self.packs = packs(settings)
        self.quantization: Nf4 | None = None
        if isinstance(settings, Peft):
            check_options(settings)

    def attach(self, network: nn.Module, *, total_updates: int = 1000) -> nn.Module:
        """Return `network` wrapped by PEFT; `total_updates` is for methods that follow a schedule.

        Raises:
            ModelError: a target module does not exist.
            RecipeError: PEFT does not accept the options for this model.
        """
        name = network.name_or_path
        config = make_config(
            self.settings, total_updates=total_updates, base_name=name if isinstance(name, str) and name else None
        )
        wrapped: nn.Module = _wrap(network, config)
        return wrapped

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write a plain PEFT folder: `adapter_model.safetensors` and `adapter_config.json`."""
        assert isinstance(network, peft.PeftModel)
        write_adapter(folder, network.active_peft_config, adapter_state(network))

    def load(self, network: nn.Module, folder: Path) -> nn.Module:
        """Return a fresh base `network` with the saved adapter on it, frozen, for inference.

        Raises:
            ArtifactError: the folder is damaged, or its weights do not fit this network one by one.
        """
        loaded: nn.Module = load_adapter(network, folder, _wrap)
        return loaded

    def merge(self, network: nn.Module) -> nn.Module:
        """Return the plain base model with the adapter in its weights; `network` is used up.

        Each weight is summed in fp32 and rounded once to the base's dtype: in bf16 the merged model is the trained
        one up to that rounding. Cast the network to fp32 first where more is wanted.

        Raises:
            ModelError: the method is no change of weights (prompts, prefixes).
        """
        assert isinstance(network, peft.PeftModel)
        return merge_adapter(network)


def _wrap(network: nn.Module, config: peft.PeftConfig) -> peft.PeftModel:
    """Attach an untrained adapter, its weights in fp32."""
    dtype = next(network.parameters()).dtype
    _set_task_type(network, config)
    _require_modules(network, config)
    _require_dtype(config, dtype)
    if config.peft_type == peft.PeftType.LORA:
        use_fused_layers(config)
    with explained():
        wrapped = peft.get_peft_model(network, config)
    hold_in_fp32(parameter for parameter in wrapped.parameters() if parameter.requires_grad)
    for module in wrapped.modules():
        if isinstance(module, ModulesToSaveWrapper):
            bridge(module.modules_to_save.modules(), dtype=dtype)
        elif isinstance(module, LNTuningLayer):
            bridge(module.ln_tuning_layers.modules(), dtype=dtype)
    return wrapped


def _set_task_type(network: nn.Module, config: peft.PeftConfig) -> None:
    """Tell PEFT what kind of model it wraps: what it calls a causal language model must be able to write.

    Raises:
        RecipeError: the method puts tokens before a text, and the model hears speech.
    """
    family = family_of_network(network)
    if family == "encoder":
        config.task_type = peft.TaskType.FEATURE_EXTRACTION
    elif family == "encoder_decoder":
        config.task_type = peft.TaskType.SEQ_2_SEQ_LM
    elif family in ("speech_encoder_decoder", "speech_encoder"):
        config.task_type = None
        if config.is_prompt_learning:
            found = f"{config.peft_type.value} puts tokens before a text, and this model hears speech"
            raise RecipeError(Problem("tuner.kind", found, remedy="choose lora or another method that changes weights"))


def _require_modules(network: nn.Module, config: peft.PeftConfig) -> None:
    for option, where in (("target_modules", "tuner.targets"), ("modules_to_save", "tuner.also_train")):
        names = vars(config).get(option)
        if isinstance(names, list | set | tuple):
            require_targets(network, sorted(names), where=where)


def _require_dtype(config: peft.PeftConfig, dtype: torch.dtype) -> None:
    if config.is_adaption_prompt and dtype != torch.float32:
        raise RecipeError(
            Problem(
                where="tuner.method",
                found=f"{config.peft_type.value} computes in its own weights' fp32, and the base is in {dtype}",
                remedy="set runtime.precision: fp32",
            )
        )
