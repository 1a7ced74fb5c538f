"""A model's folder with one file replaced, and GGUF files: what is read of them before their weights are."""

from __future__ import annotations

from contextlib import suppress
from functools import cache

import torch
from gguf import GGUFReader
from safetensors.torch import save

from fuzz.promise import Target
from fuzz.targets.place import scratch, with_one_replaced
from tenfold.models.gguf_header import require_sound_gguf
from tenfold.models.headers import read_headers
from tenfold.models.sources import resolve
from tenfold.recipe import ModelSection
from tenfold.tuning.identity import hash_config

_CONFIG = b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 8, "hidden_size": 4}'


@cache
def _sound() -> dict[str, bytes]:
    weights = save({"embed.weight": torch.zeros(8, 4)})
    index = b'{"weight_map": {"embed.weight": "a.safetensors"}}'
    return {"config.json": _CONFIG, "a.safetensors": weights, "model.safetensors.index.json": index}


def _folder(content: bytes) -> None:
    folder = scratch() / "model"
    with_one_replaced(folder, _sound(), content)
    read_headers(resolve(ModelSection(name=str(folder))))
    hash_config(folder)


def _gguf(content: bytes) -> None:
    """Check the input as a GGUF file; what passes costs its reader no time or memory, whatever faults are left."""
    path = scratch() / "model.gguf"
    path.write_bytes(content)
    require_sound_gguf(path)
    with suppress(Exception):
        GGUFReader(path)


TARGETS = (
    Target("model_folder", "a model's `config.json`, index and safetensors headers", _folder),
    Target("gguf", "the header of a GGUF file, and what passes, by its library's reader", _gguf),
)
