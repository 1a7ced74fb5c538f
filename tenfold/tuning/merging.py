"""How an adapter goes into the base weights: summed in fp32, rounded once to the base's own dtype.

PEFT adds in the base's dtype, and into 4-bit weights by quantising anew, which yields another model than the one
that was trained. Here a 4-bit layer becomes a plain one that holds exactly the weights training saw, plus the update.
"""

from __future__ import annotations

from collections import Counter

import peft
import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from tenfold.errors import ModelError, Problem
from tenfold.models.quantized import dequantize, dequantize_network, is_4bit
from tenfold.recipe.adapters import AdapterFusion, Bottleneck
from tenfold.recipe.tuner_settings import TunerSettings
from tenfold.recipe.tuners import Frozen, Full, Partial
from tenfold.tuning.peft_config import method_name


def can_merge(settings: TunerSettings) -> bool:
    """Return whether the method leaves weights that say it all, as far as its kind tells; some options forbid it."""
    if isinstance(settings, Full | Partial | Frozen):
        return True
    if isinstance(settings, Bottleneck | AdapterFusion):
        return False
    method = method_name(settings)
    return method != "ADAPTION_PROMPT" and not issubclass(
        PEFT_TYPE_TO_CONFIG_MAPPING[method], peft.PromptLearningConfig
    )


@torch.no_grad()
def merge_adapter(network: peft.PeftModel) -> nn.Module:
    """Return the plain base model with the active adapters in its weights; `network` is used up.

    Raises:
        ModelError: the method adds something that is no change of weights.
    """
    config = network.active_peft_config
    if config.is_prompt_learning or config.is_adaption_prompt:
        raise _unmergeable(config, "it adds tokens" if config.is_prompt_learning else "it adds to attention")
    base: nn.Module = network.get_base_model()
    _untie_tuned(base)
    for layer in [module for module in base.modules() if isinstance(module, BaseTunerLayer)]:
        try:
            _merge_layer(layer)
        except (NotImplementedError, AttributeError, ValueError, TypeError, RuntimeError) as error:
            raise _unmergeable(config, str(error)) from error
    plain: nn.Module = network.unload()
    dequantize_network(plain)
    _record_untying(plain)
    return plain.requires_grad_(False)


def _unmergeable(config: peft.PeftConfig, reason: str) -> ModelError:
    method = config.peft_type.value
    return ModelError(
        Problem(
            where="tuner",
            found=f"{method} cannot be merged into the base weights: {reason}",
            remedy="use the adapter as it is, or tune with a method that merges, such as lora",
        )
    )


def _merge_layer(layer: BaseTunerLayer) -> None:
    base = layer.get_base_layer()
    if is_4bit(base):
        plain = dequantize(base)
        weight = plain.weight.data.float()
        for adapter in layer.active_adapters:
            if adapter in layer.lora_variant:
                weight = layer.lora_variant[adapter].merge_safe(layer, adapter, weight)
            else:
                weight = weight + layer.get_delta_weight(adapter)
        plain.weight.data = weight.to(plain.weight.dtype)
        layer.base_layer = plain
        layer.merged_adapters.extend(layer.active_adapters)
        return
    dtypes = {name: parameter.dtype for name, parameter in base.named_parameters(recurse=False)}
    for parameter in base.parameters(recurse=False):
        parameter.data = parameter.data.float()
    layer.merge()
    for name, parameter in base.named_parameters(recurse=False):
        parameter.data = parameter.data.to(dtypes[name])


def _untie_tuned(base: nn.Module) -> None:
    """Give a tuned layer its own weights where it shares them: the other owner was not tuned with it."""
    owners = Counter(id(parameter) for module in base.modules() for parameter in module.parameters(recurse=False))
    for layer in [module for module in base.modules() if isinstance(module, BaseTunerLayer)]:
        inner = layer.get_base_layer()
        for name, parameter in list(inner.named_parameters(recurse=False)):
            if owners[id(parameter)] > 1:
                setattr(inner, name, nn.Parameter(parameter.detach().clone(), requires_grad=False))


def _record_untying(plain: nn.Module) -> None:
    """Set the model's config to untied embeddings where they are no longer one, so that saving keeps both."""
    try:
        output, inputs = plain.get_output_embeddings(), plain.get_input_embeddings()  # type: ignore[operator]
    except NotImplementedError:  # what hears speech embeds no tokens
        return
    if output is not None and plain.config.tie_word_embeddings and output.weight is not inputs.weight:  # type: ignore[union-attr]
        plain.config.tie_word_embeddings = False  # type: ignore[union-attr]
