"""Tuning the base weights themselves: all of them, or those whose names match."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn

from tenfold.errors import ArtifactError, ModelError, Problem, nearest
from tenfold.models.quantized import Nf4
from tenfold.models.quiet import quiet_loading
from tenfold.models.save import save_model
from tenfold.models.scratch import forget
from tenfold.recipe.tuners import Full, Partial
from tenfold.tuning.defaults import TunerDefaults
from tenfold.tuning.precision import bridge, hold_in_fp32


class BaseWeightTuner(TunerDefaults):
    """Trains base parameters in fp32; the saved weights are a whole model, in fp32.

    Saved in bf16 instead, a model trained at the usual 2e-5 would lose most of what it learned: one update moves a
    weight by about the learning rate, and bf16 cannot tell weights of 0.05 apart that differ by less than 2e-4.
    """

    trains_base_weights = True
    packs = True
    saves_peft = False
    quantization: Nf4 | None = None

    def __init__(self, settings: Full | Partial) -> None:
        self.settings = settings
        self.name = settings.kind
        self.loads_in_fp32 = isinstance(settings, Full)

    def attach(self, network: nn.Module, *, total_updates: int = 1000) -> nn.Module:
        """Return the same network with exactly the chosen parameters trainable, in fp32.

        Raises:
            ModelError: a pattern of `modules` matches no parameter.
        """
        if isinstance(self.settings, Full) and self.settings.start == "scratch":
            forget(network)
        chosen = self._chosen(network)
        dtype = next(network.parameters()).dtype
        network.requires_grad_(False)
        hold_in_fp32(chosen.values())
        for parameter in chosen.values():
            parameter.requires_grad_(True)
        if isinstance(self.settings, Partial):
            ids = {id(parameter) for parameter in chosen.values()}
            owners = [
                module
                for module in network.modules()
                if any(id(parameter) in ids for parameter in module.parameters(recurse=False))
            ]
            bridge(owners, dtype=dtype)
        return network

    def _chosen(self, network: nn.Module) -> dict[str, nn.Parameter]:
        if isinstance(self.settings, Full):
            return dict(network.named_parameters())
        # a tied weight has two names, and either may be meant
        names = dict(network.named_parameters(remove_duplicate=False))
        _require_matches(self.settings.modules, names)
        ids = {
            id(parameter)
            for name, parameter in names.items()
            if any(re.search(pattern, name) for pattern in self.settings.modules)
        }
        return {name: parameter for name, parameter in network.named_parameters() if id(parameter) in ids}

    def save(self, network: nn.Module, folder: Path) -> None:
        """Write the whole model in Hugging Face layout; what trained in fp32, the rest as it was loaded."""
        save_model(network, folder)
        # transformers records the first parameter's dtype, and a plain load rounds every weight to it
        path = folder / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        config["dtype"] = "float32"
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def load(self, network: nn.Module, folder: Path) -> nn.Module:
        """Return `network` with every weight replaced by the saved one: what trained in fp32, the rest as it is.

        Raises:
            ArtifactError: a weight is missing, unknown or of another shape, or a file is damaged.
        """
        try:
            with quiet_loading():
                saved, report = type(network).from_pretrained(  # type: ignore[attr-defined]
                    folder,
                    dtype=torch.float32,
                    local_files_only=True,
                    use_safetensors=True,
                    output_loading_info=True,
                )
        except (OSError, SafetensorError, RuntimeError, ValueError, KeyError) as error:
            raise ArtifactError(Problem(str(folder), f"cannot be read: {str(error).strip()[:300]}")) from error
        problems = [
            Problem(str(folder), f"{len(names)} {kind.replace('_', ' ')}, such as {sorted(map(str, names))[0]}")
            for kind, names in report.items()
            if names
        ]
        if problems:
            raise ArtifactError(*problems)
        self.attach(network)
        try:
            network.load_state_dict(saved.state_dict())
        except RuntimeError as error:
            raise ArtifactError(Problem(str(folder), f"does not fit this model: {str(error).strip()[:300]}")) from error
        network.requires_grad_(False)
        return network.eval()

    def merge(self, network: nn.Module) -> nn.Module:
        """Return the network itself, frozen: there is nothing beside its weights."""
        return network.requires_grad_(False)


def _require_matches(patterns: tuple[str, ...], names: Mapping[str, nn.Parameter]) -> None:
    problems = []
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in names):
            modules = sorted({name.rpartition(".")[0] for name in names}, key=len)
            problems.append(
                Problem(
                    where="tuner.modules",
                    found=f"{pattern!r} matches no parameter",
                    allowed=f"patterns found in names such as {', '.join(list(names)[:3])} … {list(names)[-1]}",
                    remedy=nearest(pattern, modules) or nearest(pattern, _endings(names)),
                )
            )
    if problems:
        raise ModelError(*problems)


def _endings(names: Mapping[str, nn.Parameter]) -> list[str]:
    return sorted({part for name in names for part in name.split(".") if not part.isdigit()})
