"""How bottleneck adapters lie on disk. PEFT has none, so the format is ours: two files, whole in themselves.

adapters.safetensors  every adapter and fusion of the bank, fp32, named as the bank's parameters are:
                      `bottlenecks.<adapter>/<block>/<sub-layer>.{down,up}.{weight,bias}` with the block's path below
                      the model's body (`layers/0`), and `fusions.<a>+<b>/<block>/<sub-layer>.{query,key,value}.weight`
adapters.json         `format` 1; `adapters`: the settings of each by name, as in a recipe; `fusions`: lists of names;
                      `active`: a name, {"stack": [...]}, {"fuse": [...]} or null; `left_out`: blocks without effect

An adapter that was trained on others is saved with them, so the folder answers without theirs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tenfold.errors import ArtifactError, ModelError, Problem
from tenfold.files import sha256_file, sha256_text, write_json
from tenfold.recipe.adapters import Bottleneck
from tenfold.tuning.adapter_bank import AdapterBank, detach_bank, open_bank
from tenfold.tuning.composition import Composition, Fuse, from_json, to_json
from tenfold.tuning.identity import FILE as IDENTITY
from tenfold.tuning.identity import hash_config, hash_weights, read_identity, require_same_tensors

WEIGHTS = "adapters.safetensors"
CONFIG = "adapters.json"
FORMAT = 1


@dataclass(frozen=True)
class SavedBank:
    """What a folder holds."""

    settings: Mapping[str, Bottleneck]
    fusions: tuple[Fuse, ...]
    active: Composition | None
    left_out: tuple[int, ...]
    tensors: Mapping[str, Tensor]


def write_bank(bank: AdapterBank, folder: Path) -> None:
    """Write every adapter and fusion of `bank` into `folder`, and which composition is active."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in bank.state_dict().items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    write_json(
        folder / CONFIG,
        {
            "format": FORMAT,
            "adapters": {
                name: settings.resolved.model_dump(mode="json", exclude={"below"})
                for name, settings in bank.settings.items()
            },
            "fusions": [list(fuse.names) for fuse in bank.fused.values()],
            "active": to_json(bank.active),
            "left_out": sorted(bank.left_out),
        },
    )


def read_bank(folder: Path) -> SavedBank:
    """Return what `write_bank` wrote.

    Raises:
        ArtifactError: a file is missing or damaged, or of a newer format.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise ArtifactError(
                Problem(str(folder), f"no {name}", allowed="a folder with bottleneck adapters", remedy="check the path")
            )
    try:
        tree = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if tree["format"] != FORMAT:
            found = f"format {tree['format']!r}"
            raise ArtifactError(Problem(str(folder / CONFIG), found, allowed=str(FORMAT), remedy="upgrade tenfold"))
        return SavedBank(
            settings={name: Bottleneck(**settings) for name, settings in tree["adapters"].items()},
            fusions=tuple(Fuse(*names) for names in tree["fusions"]),
            active=from_json(tree["active"]),
            left_out=tuple(int(number) for number in tree["left_out"]),
            tensors=load_file(folder / WEIGHTS),
        )
    except SafetensorError as error:
        raise ArtifactError(Problem(str(folder / WEIGHTS), f"damaged: {error}")) from error
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, OSError) as error:
        # settings out of range are a ValueError
        found = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ArtifactError(Problem(str(folder / CONFIG), f"damaged: {found}")) from error


def restore_bank(network: nn.Module, folder: Path) -> None:
    """Put what `folder` holds on `network`, a fresh base, active as it was saved.

    Raises:
        ArtifactError: the folder is damaged or belongs to a model of another shape.
    """
    saved = read_bank(folder)
    bank = open_bank(network)
    try:
        for name, settings in saved.settings.items():
            bank.add(name, settings)
        for fuse in saved.fusions:
            bank.add_fusion(fuse)
        bank.activate(saved.active, without=saved.left_out)
        _fill(bank, saved.tensors, bank.state_dict(keep_vars=True), folder)
    except ModelError as error:
        detach_bank(network)
        found = "; ".join(problem.found for problem in error.problems[:3])
        raise ArtifactError(Problem(str(folder), f"the adapter does not fit this model: {found}")) from error


def borrow_adapter(network: nn.Module, folder: Path, *, name: str) -> None:
    """Put the one adapter that the artifact in `folder` holds on `network`, frozen, under `name`.

    An adapter of this name that was read from there before is left as it is.

    Raises:
        ArtifactError: the folder holds none or several, is damaged, or was trained on another base.
        ModelError: another adapter has this name.
    """
    bank = open_bank(network)
    folder = weights_folder(folder)
    if bank.origins.get(name) == str(folder):
        return
    saved = read_bank(folder)
    if not isinstance(saved.active, str):
        raise ArtifactError(
            Problem(
                where=str(folder),
                found=f"not one adapter but a composition of {', '.join(saved.settings) or 'none'}",
                allowed="the artifact of a single adapter, trained without `below`",
            )
        )
    _require_same_base(network, folder)
    bank.add(name, saved.settings[saved.active])
    bank.origins[name] = str(folder)
    state = {
        key.replace(f".{saved.active}/", f".{name}/", 1): tensor
        for key, tensor in saved.tensors.items()
        if key.startswith(f"bottlenecks.{saved.active}/")
    }
    places = {
        key: tensor for key, tensor in bank.state_dict(keep_vars=True).items() if key.startswith(f"bottlenecks.{name}/")
    }
    _fill(bank, state, places, folder)


def weights_folder(folder: Path) -> Path:
    """Return where the adapters of an artifact lie: in its `adapter/`, or in the folder itself."""
    inner = folder / "adapter"
    return inner if (inner / CONFIG).is_file() else folder


def hash_bank(folder: Path) -> str:
    """Return the hash of the files of an artifact's adapters; of nothing where they are missing."""
    paths = [weights_folder(folder) / name for name in (CONFIG, WEIGHTS)]
    return sha256_text(*(sha256_file(path) for path in paths if path.is_file()))


@torch.no_grad()
def _fill(bank: AdapterBank, state: Mapping[str, Tensor], places: Mapping[str, Tensor], folder: Path) -> None:
    require_same_tensors(places, state, folder)
    for name, place in places.items():
        place.copy_(state[name])
        place.requires_grad_(False)


def _require_same_base(network: nn.Module, folder: Path) -> None:
    """Refuse an adapter of another base, as far as it can be told: a model built in code has no files to hash."""
    base = Path(str(network.name_or_path))
    if not (folder / IDENTITY).is_file() or not (base / "config.json").is_file():
        return
    trained_on = read_identity(folder)
    found = (hash_weights(base), hash_config(base))
    if found != (trained_on.base_weights_sha256, trained_on.config_sha256):
        raise ArtifactError(
            Problem(
                where=str(folder),
                found=f"it was trained on {trained_on.base_name!r}, whose weights or configuration are not this base's",
                remedy="train it on the base of this recipe, or name the other base in model.name",
            )
        )
