"""How an adapter lies on disk: a plain PEFT folder, written and read strictly.

PEFT's own `save_pretrained` may ask a hub about the base model and writes a model card of its own; its
`from_pretrained` only warns when weights are missing and says nothing of unknown ones. The files are the same.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path

import peft
from peft.utils.save_and_load import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tenfold.errors import ArtifactError, ModelError, Problem, RecipeError, shown
from tenfold.tuning.identity import require_same_tensors

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


def adapter_state(network: peft.PeftModel, adapter: str = "default") -> dict[str, Tensor]:
    """Return the adapter's tensors under the names of a PEFT file."""
    # "auto" would look the base model up on a hub to see whether its vocabulary was resized
    state: dict[str, Tensor] = get_peft_model_state_dict(network, adapter_name=adapter, save_embedding_layers=False)
    return state


def write_adapter(folder: Path, config: peft.PeftConfig, state: Mapping[str, Tensor]) -> None:
    """Write `config` and `state` into `folder`, as PEFT reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    # safetensors takes neither views nor two names for one tensor
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    for_use(config).save_pretrained(str(folder))


def for_use(config: peft.PeftConfig) -> peft.PeftConfig:
    """Return a copy of `config` as it is saved: for inference, in one order, free of what only the start needed."""
    config = copy.deepcopy(config)
    config.inference_mode = True
    for name, value in vars(config).items():
        if isinstance(value, set):
            setattr(config, name, sorted(value))
    if isinstance(config, peft.PromptTuningConfig):
        config.prompt_tuning_init = "RANDOM"
        config.prompt_tuning_init_text = config.tokenizer_name_or_path = None
    return config


def read_adapter(folder: Path) -> tuple[peft.PeftConfig, dict[str, Tensor]]:
    """Return the configuration and the tensors of the PEFT folder.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ArtifactError(
                Problem(str(folder), f"no {name}", allowed="a PEFT adapter folder", remedy="check the path")
            )
    try:
        config = peft.PeftConfig.from_pretrained(str(folder))
    except Exception as error:  # a damaged file ends in errors of many unrelated types
        raise ArtifactError(Problem(str(folder / CONFIG), f"damaged: {error}")) from error
    _require_whole(config, folder)
    try:
        return config, load_file(folder / WEIGHTS)
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtifactError(Problem(str(folder / WEIGHTS), f"damaged: {error}")) from error


def _require_whole(config: peft.PeftConfig, folder: Path) -> None:
    """Refuse a configuration by which PEFT would import a module, or read or fetch another adapter or model.

    Raises:
        ArtifactError: it names one.
    """
    named = {name: vars(config).get(name) for name in ("adapters", "megatron_config", "shadow_model")}
    shadow = named["shadow_model"]
    if shadow == "mirror" or (isinstance(shadow, str) and Path(shadow).is_dir()):
        named.pop("shadow_model")
    told = [f"{name}: {shown(value)}" for name, value in named.items() if value]
    if told:
        found = f"it would have PEFT load more than this folder: {', '.join(told)}"
        raise ArtifactError(Problem(str(folder / CONFIG), found, allowed="an adapter that is whole in itself"))


def fill_adapter(network: peft.PeftModel, state: Mapping[str, Tensor], folder: Path) -> None:
    """Copy `state` into the network's adapter; `folder` is named in messages.

    Raises:
        ArtifactError: tensors are missing, unknown or of another shape.
    """
    require_same_tensors(adapter_state(network), state, folder)
    set_peft_model_state_dict(network, dict(state))


def load_adapter(
    network: nn.Module, folder: Path, attach: Callable[[nn.Module, peft.PeftConfig], peft.PeftModel]
) -> peft.PeftModel:
    """Return `network` with the folder's adapter on it, frozen; `attach` wraps it with an untrained one.

    Raises:
        ArtifactError: the folder is damaged or belongs to a model of another shape.
    """
    config, state = read_adapter(folder)
    config.base_model_name_or_path = None  # else PEFT warns that the base moved; identity.json tells for certain
    # a prompt is saved as embeddings, without the encoder that made it; the other methods are built as for training
    config.inference_mode = bool(config.is_prompt_learning)
    try:
        wrapped = attach(network, config)
    except (ModelError, RecipeError) as error:
        found = "; ".join(problem.found for problem in error.problems[:3])
        raise ArtifactError(Problem(str(folder), f"the adapter does not fit this model: {found}")) from error
    fill_adapter(wrapped, state, folder)
    wrapped.active_peft_config.inference_mode = True
    wrapped.requires_grad_(False)
    return wrapped.eval()
