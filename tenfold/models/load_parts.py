"""How a model's weights are read in parts: each rank its own rows of every tensor, and no rank the whole model.

It holds for models whose files have the tensors as the modules have them, which is most. Where a file's names or shapes
are to be translated first, or a module makes tensors of its own that cannot be made again, nothing is guessed: such a
model is loaded whole and then divided.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from transformers import GenerationConfig, PreTrainedModel

from tenfold.models.load import empty_network
from tenfold.models.quiet import quiet_loading
from tenfold.models.sharding import Shards, own_rows
from tenfold.models.sources import weight_files


def load_parts(
    folder: Path, mesh: DeviceMesh, *, dtype: torch.dtype, compute_dtype: torch.dtype | None, device: torch.device
) -> Shards | None:
    """Return the decoder in `folder` of which this rank has read its part; None where it must be loaded whole first."""
    network = empty_network(folder, dtype=dtype)
    if network is None or getattr(network, "_keep_in_fp32_modules", None):
        return None
    with ExitStack() as held:
        try:
            files: list[Any] = [held.enter_context(safe_open(path, framework="pt")) for path in weight_files(folder)]
        except SafetensorError:  # damaged: loading it whole says so
            return None
        tensors = {name: file.get_slice(name) for file in files for name in file.keys()}  # noqa: SIM118
        remade = _modules_of_buffers(network)
        if remade is None or not _lies_as_it_is(network, tensors):
            return None
        shards = Shards(network, mesh, compute_dtype=compute_dtype)
        shards.to_empty(device=device)
        for name, parameter in network.named_parameters():
            own = own_rows(parameter)
            if len(own.part):  # safetensors has no slice behind the last row
                own.part.copy_(tensors[name][own.start : own.start + len(own.part)])
    for name, module in remade.items():
        network.set_submodule(name, module.to(device))
    _set_generation(network, folder)
    return shards


def _lies_as_it_is(network: nn.Module, tensors: Mapping[str, Any]) -> bool:
    """Return whether the files hold every parameter under its own name and in its own shape, and nothing unknown."""
    known = network.state_dict()
    if any(name not in known for name in tensors):
        return False
    parameters = dict(network.named_parameters())
    kept = [name for name, _ in network.named_buffers() if name in known]
    return not kept and all(
        name in tensors and parameter.dim() > 0 and list(tensors[name].get_shape()) == list(parameter.shape)
        for name, parameter in parameters.items()
    )


def _modules_of_buffers(network: nn.Module) -> dict[str, nn.Module] | None:
    """Return anew each module that holds tensors which are in no file, by name; None where one cannot be made again.

    Such are tables of rotary positions, which follow from the configuration that the module keeps.
    """
    made: dict[str, nn.Module] = {}
    for name, module in network.named_modules():
        own = {key: buffer.shape for key, buffer in module.named_buffers(recurse=False)}
        if not own:
            continue
        config = getattr(module, "config", None)
        if config is None or any(True for _ in module.parameters()) or any(True for _ in module.children()):
            return None
        try:
            again = type(module)(config)
        except TypeError:
            return None
        if {key: buffer.shape for key, buffer in again.named_buffers(recurse=False)} != own:
            return None
        made[name] = again
    return made


def _set_generation(network: PreTrainedModel, folder: Path) -> None:
    """Let the network answer by the settings that lie beside its weights, as it does when it is loaded whole."""
    if network.can_generate() and (folder / "generation_config.json").is_file():
        with quiet_loading():
            network.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
